"""Names and shapes of published checkpoints, transcribed from their repositories' modules."""

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, out: int, into: int, size: int, bias: bool = False, axes: int = 2) -> Shapes:
    weight = {f"{name}.weight": (out, into, *[size] * axes)}
    return weight | ({f"{name}.bias": (out,)} if bias else {})


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, channels: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def torchvision(stages=(2, 2, 2, 2), width=64, classes=1000, bottleneck=False) -> Shapes:
    shapes = conv("conv1", width, 3, 7) | norm("bn1", width)
    into = width
    for stage, blocks in enumerate(stages):
        mid = width * 2**stage
        out = 4 * mid if bottleneck else mid
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            sizes = (1, 3, 1) if bottleneck else (3, 3)
            widths = (into, mid, mid, out) if bottleneck else (into, mid, out)
            for i, size in enumerate(sizes):
                shapes |= conv(f"{at}.conv{i + 1}", widths[i + 1], widths[i], size)
                shapes |= norm(f"{at}.bn{i + 1}", widths[i + 1])
            if block == 0 and (stage > 0 or bottleneck):
                shapes |= conv(f"{at}.downsample.0", out, into, 1)
                shapes |= norm(f"{at}.downsample.1", out)
            into = out
    return shapes | linear("fc", classes, into)


def sew_resnet(module=".module", **kw) -> Shapes:
    """Return the names of Fang's repository, where conv and norm share a container."""
    shapes = {}
    for name, shape in torchvision(**kw).items():
        layer, _, leaf = name.rpartition(".")
        *at, last = layer.split(".")
        if at and last.startswith(("conv", "bn")):
            part = "0" if last.startswith("conv") else "1"
            name = ".".join([*at, f"conv{last[-1]}{module}.{part}", leaf])
        elif "downsample" in layer:
            name = ".".join([*at, f"0{module}.{last}", leaf])
        shapes[name] = shape
    return shapes


def ms_resnet(stages=(2, 2, 2, 2), width=64, classes=1000) -> Shapes:
    shapes = conv("conv1.0", width, 3, 7) | norm("conv1.1.bn", width)
    into = width
    for stage, blocks in enumerate(stages):
        out = width * 2**stage
        for block in range(blocks):
            at = f"conv{stage + 2}_x.{block}"
            shapes |= conv(f"{at}.residual_function.1", out, into, 3)
            shapes |= norm(f"{at}.residual_function.2.bn", out)
            shapes |= conv(f"{at}.residual_function.4", out, out, 3)
            shapes |= norm(f"{at}.residual_function.5.bn", out)
            if block == 0:  # The first stage halves the map too.
                shapes |= conv(f"{at}.shortcut.0", out, into, 1)
                shapes |= norm(f"{at}.shortcut.1.bn", out)
            into = out
    return shapes | linear("fc", classes, into)


def spikingjelly_ms_resnet(stages=(2, 2, 2, 2), width=64, classes=1000) -> Shapes:
    shapes = conv("stem.0", width, 3, 7) | norm("stem.1", width)
    into = width
    for stage, blocks in enumerate(stages):
        out = width * 2**stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            shapes |= conv(f"{at}.conv1", out, into, 3) | norm(f"{at}.bn1", out)
            shapes |= conv(f"{at}.conv2", out, out, 3) | norm(f"{at}.bn2", out)
            if block == 0:
                shapes |= conv(f"{at}.downsample.0", out, into, 1)
                shapes |= norm(f"{at}.downsample.1", out)
            into = out
    return shapes | linear("head", classes, into)


def clif_resnet(stages=(2, 2, 2, 2), width=64, classes=10) -> Shapes:
    shapes = conv("conv1", width, 3, 3)
    into = width
    for stage, blocks in enumerate(stages):
        out = width * 2**stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            shapes |= norm(f"{at}.bn1", into) | conv(f"{at}.conv1", out, into, 3, bias=True)
            shapes |= norm(f"{at}.bn2", out) | conv(f"{at}.conv2", out, out, 3, bias=True)
            if block == 0 and stage > 0:
                shapes |= conv(f"{at}.shortcut", out, into, 1, bias=True)
            into = out
    return shapes | norm("bn1", into) | linear("linear", classes, into)


VGG11_WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)


def clif_vgg11(widths=VGG11_WIDTHS, classes=10) -> Shapes:
    """Return five stages with 1, 1, 2, 2 and 2 layers of conv, norm, neuron and dropout."""
    shapes, into = {}, 2
    places = "layer1.0 layer2.0 layer3.0 layer3.4 layer4.0 layer4.4 layer5.0 layer5.4".split()
    for place, out in zip(places, widths, strict=True):
        stage, _, index = place.partition(".")
        shapes |= conv(place, out, into, 3, bias=True) | norm(f"{stage}.{int(index) + 1}", out)
        into = out
    return shapes | linear("classifier.1", classes, into * 7 * 7)


def vggsnn(widths=VGG11_WIDTHS, classes=10, map_size=3) -> Shapes:
    shapes, into = {}, 2
    for place, out in zip((0, 1, 3, 4, 6, 7, 9, 10), widths, strict=True):
        shapes |= conv(f"features.{place}.fwd.0", out, into, 3, bias=True)
        shapes |= norm(f"features.{place}.fwd.1", out)
        into = out
    return shapes | linear("classifier", classes, into * map_size**2)


def spike_driven_transformer(width=384, depth=8, heads=8, classes=1000) -> Shapes:
    shapes, into = {}, 3
    widths = (width // 8, width // 4, width // 2, width)
    for suffix, out in zip(("", "1", "2", "3"), widths, strict=True):
        shapes |= conv(f"patch_embed.proj_conv{suffix}", out, into, 3)
        shapes |= norm(f"patch_embed.proj_bn{suffix}", out)
        into = out
    shapes |= conv("patch_embed.rpe_conv", width, width, 3) | norm("patch_embed.rpe_bn", width)
    for block in range(depth):
        at = f"block.{block}"
        for x in "qkv":
            shapes |= conv(f"{at}.attn.{x}_conv", width, width, 1)
            shapes |= norm(f"{at}.attn.{x}_bn", width)
        shapes |= conv(f"{at}.attn.talking_heads", heads, heads, 1, axes=1)
        shapes |= conv(f"{at}.attn.proj_conv", width, width, 1, bias=True)
        shapes |= norm(f"{at}.attn.proj_bn", width)
        shapes |= conv(f"{at}.mlp.fc1_conv", 4 * width, width, 1, bias=True)
        shapes |= norm(f"{at}.mlp.fc1_bn", 4 * width)
        shapes |= conv(f"{at}.mlp.fc2_conv", width, 4 * width, 1, bias=True)
        shapes |= norm(f"{at}.mlp.fc2_bn", width)
    return shapes | linear("head", classes, width)


def spikingjelly_sdt(width=384, depth=8, classes=1000) -> Shapes:
    """Return SpikingJelly's names, with biases in the embedding and without talking_heads."""
    renamed, shapes = {}, spike_driven_transformer(width, depth, classes=classes)
    for i, place in enumerate(("stages.0", "stages.1", "stages.2", "final_stage")):
        renamed[f"patch_embed.proj_conv{i or ''}."] = f"patch_embed.{place}.0."
        renamed[f"patch_embed.proj_bn{i or ''}."] = f"patch_embed.{place}.1."
        shapes[f"patch_embed.{place}.0.bias"] = (width // (8, 4, 2, 1)[i],)
    for x in "12":
        renamed |= {f"mlp.fc{x}_conv.": f"mlp.fc{x}.", f"mlp.fc{x}_bn.": f"mlp.bn{x}."}
    renamed["block."] = "blocks."
    found = {}
    for name, shape in shapes.items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        if "talking_heads" not in name:
            found[name] = shape
    return found


def e_spikeformer(widths=(32, 64, 128, 192), depths=(6, 2), classes=1000) -> Shapes:
    def separable(at, channels, size):
        wide = 2 * channels
        return (
            (conv(f"{at}.pwconv1.0", wide, channels, 1) | norm(f"{at}.pwconv1.1", wide))
            | (conv(f"{at}.dwconv.0", wide, 1, size) | norm(f"{at}.dwconv.1", wide))
            | (conv(f"{at}.pwconv2.0", channels, wide, 1) | norm(f"{at}.pwconv2.1", channels))
        )

    half = widths[0] // 2
    shapes, into = {}, 3
    downs = "downsample1_1 downsample1_2 downsample2 downsample3 downsample4".split()
    for at, out in zip(downs, (half, *widths), strict=True):
        size = 7 if into == 3 else 3
        shapes |= conv(f"{at}.encode_conv", out, into, size, bias=True)
        shapes |= norm(f"{at}.encode_bn", out)
        into = out
    blocks = "ConvBlock1_1 ConvBlock1_2 ConvBlock2_1 ConvBlock2_2".split()
    for at, c in zip(blocks, (half, widths[0], widths[1], widths[1]), strict=True):
        shapes |= separable(f"{at}.0.Conv", c, 7)
        shapes |= conv(f"{at}.0.conv1", 4 * c, c, 3) | norm(f"{at}.0.bn1", 4 * c)
        shapes |= conv(f"{at}.0.conv2", c, 4 * c, 3) | norm(f"{at}.0.bn2", c)
    for stage, (depth, c) in enumerate(zip(depths, widths[2:], strict=True), start=3):
        for block in range(depth):
            at = f"block{stage}.{block}"
            shapes |= separable(f"{at}.conv", c, 3)
            outs = {
                "q_conv": (c, c),
                "k_conv": (c, c),
                "v_conv": (4 * c, c),
                "proj_conv": (c, 4 * c),
            }
            for x, (out, inner) in outs.items():
                shapes |= conv(f"{at}.attn.{x}.0", out, inner, 1) | norm(f"{at}.attn.{x}.1", out)
            shapes |= conv(f"{at}.mlp.fc1_conv", 4 * c, c, 1, bias=True, axes=1)
            shapes |= norm(f"{at}.mlp.fc1_bn", 4 * c)
            shapes |= conv(f"{at}.mlp.fc2_conv", c, 4 * c, 1, bias=True, axes=1)
            shapes |= norm(f"{at}.mlp.fc2_bn", c)
    return shapes | linear("head", classes, widths[-1])
