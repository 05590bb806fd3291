"""Data sets of images that fit into memory: cifar, digits, folder, mnist, synthetic.

`idx.py` reads the files of MNIST, `cifar_files.py` and `unpickle.py` the files of CIFAR,
`class_names.py` names classes. ImageNet is in `../imagenet/`.
"""
