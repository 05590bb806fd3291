"""Train several seeds in one program: python -m train.seeds --config FILE"""
