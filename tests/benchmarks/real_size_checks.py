"""What must hold at real size: the velocity, a run that goes on bit for bit, and memory that runs out."""

import importlib.util
from contextlib import contextmanager

import torch
from real_size_chains import OVERLAP, driving, picture, sampled

ANCHORS, CFG = 4, 1.0
WHILE = {"encode": "encoding frames", "sample": "sampling", "decode": "decoding latents"}
# What a full card still has when it counts as full: less than any layer at real size needs.
LEFT = 32 * 2**20


def relative(value, expected):
    """Size of the difference over the size of what is expected."""
    return float((value - expected).float().norm() / expected.float().norm())


def layouts(host, model, vae, look, text, case):
    """The velocity of the first model call of a chunk, in bf16, against that of the authors' layout, written out here,
    and against the layout of the stock node. With a face if the case has one."""
    network, found = model.model.diffusion_model, {}

    def authors(tokens, pose, face):
        """Pose on the latents behind the anchors; null vectors in front of the face's."""
        driven = network.pose_patch_embedding(pose)
        tokens = torch.cat([tokens[:, :, :ANCHORS], tokens[:, :, ANCHORS:] + driven], dim=2)
        if face is None:
            return tokens, None
        crops = face[0].movedim(1, 0).split(8)
        vectors = network.face_encoder(torch.cat([network.motion_encoder.get_motion(part) for part in crops])[None])
        return tokens, torch.cat([torch.zeros_like(vectors[:, :1]).expand(-1, ANCHORS, -1, -1), vectors], dim=1)

    def compare(network, arguments, named, velocity):
        if found:
            return
        aligned = network.after_patch_embedding
        for name, layout in (("authors", authors), ("stock", type(network).after_patch_embedding.__get__(network))):
            network.after_patch_embedding = layout
            found[name] = relative(velocity, network.forward(*arguments, **named))
        network.after_patch_embedding = aligned

    hook = network.register_forward_hook(compare, with_kwargs=True)
    try:
        first_chunk(host, in_bf16(model), vae, look, text, case)
    finally:
        hook.remove()
    return [
        (
            f"velocity in bf16 against the authors' layout, {ANCHORS} anchors, pose{' and face' if case.face else ''}",
            f"{found['authors']:.1e} relative; the stock layout is {found['stock']:.0%} off",
            found["authors"] < 1e-3 < found["stock"],
        )
    ]


def in_bf16(model):
    """The MODEL, computing in bf16: on a CPU, a host would choose float32."""
    model = model.clone()
    model.set_model_compute_dtype(torch.bfloat16)
    return model


def first_chunk(host, model, vae, look, text, case):
    """One step of chunk 0."""
    import comfy.samplers

    pose, face = driving(case, case.frames)
    (model,) = host.call("EverAnimatePatchModel", model=model)
    frames = {"total_frames": case.frames, "chunk_frames": case.frames, "overlap": min(OVERLAP, case.frames - 2)}
    (plan, *_) = host.call("EverAnimatePlanChunks", **frames)
    size = {"width": case.width, "height": case.height, "identity_latents": ANCHORS}
    (memory,) = host.call("EverAnimateMemory", vae=vae, reference_images=picture(case), **size)
    chunk = {"vae": vae, "plan": plan, "memory": memory, "pose_video": pose, "clip_vision": look}
    chunk |= {} if face is None else {"face_video": face}
    positive, negative, latent = host.call("EverAnimateChunk", positive=text, negative=text, chunk_index=0, **chunk)
    (sigmas,) = host.call("EverAnimateSigmas", steps=1)
    return sampled(model, positive, negative, latent, comfy.samplers.sampler_object("euler"), sigmas, 0)


def diffusers(host, vae, look, text, case):
    """Tiny networks of equal weights, ours inside the host and diffusers' in the authors' layout, both in bf16; beside
    it, what bf16 itself costs: the host's in bf16 against the host's in float32."""
    if importlib.util.find_spec("diffusers") is None:
        return [("velocity in bf16 against diffusers' network, tiny", "not run: no diffusers here", None)]
    import comfy.sd
    import real_size_networks
    from safetensors.torch import save_file

    state = real_size_networks.animate_state(real_size_networks.TINY, "bf16", "cpu")
    path = host.folder / "tiny_bf16.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    velocities, calls = {}, {}
    for kind in ("bf16", "float32"):
        weights = {name: value.float() if kind == "float32" else value.clone() for name, value in state.items()}
        model = comfy.sd.load_diffusion_model_state_dict(weights)
        network = model.model.diffusion_model

        def keep(network, arguments, named, velocity, kind=kind):
            velocities[kind] = velocity.clone()
            calls[kind] = {**dict(enumerate(arguments)), **named}

        hook = network.register_forward_hook(keep, with_kwargs=True)
        first_chunk(host, in_bf16(model) if kind == "bf16" else model, vae, look, text, case)
        hook.remove()
    call, velocity = calls["bf16"], velocities["bf16"]
    transformer = host.module("everanimate_core.backends.wan_checkpoint").load_transformer(
        path, device=velocity.device, dtype=velocity.dtype
    )
    alignment = host.module("everanimate_core.backends.wan_alignment")
    latents = (case.frames - 1) // 4 + 1
    pose, face = call["pose_latents"], call.get("face_pixel_values")
    layout = alignment.encode_driving(transformer, anchors=ANCHORS, latents=latents, pose=pose, face=face)
    other = alignment.predict_velocity(transformer, layout, call[0], call[1], call["context"], call["clip_fea"])
    apart, rounding = relative(velocity, other), relative(velocity, velocities["float32"])
    return [
        (
            "velocity in bf16 against diffusers' network, tiny",
            f"{apart:.1e} relative; bf16 against float32 in the host alone: {rounding:.1e}",
            apart < 3 * max(rounding, 1e-5),
        )
    ]


@contextmanager
def full(host, model, vae, at, before):
    """The card is full when stage `at` begins, after `before` model calls, and in the tiles that the host then tries.
    On a CPU, more memory is asked for than there is."""
    network, codec, calls = model.model.diffusion_model, vae.first_stage_model, []

    def fill():
        if not host.cuda:
            torch.empty(2**50)
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + LEFT) / total)

    def count(*_):
        calls.append(1)
        if at == "sample" and len(calls) > before:
            fill()

    def filling(doing):
        whole = getattr(codec, doing)

        def call(values, *rest, **named):
            sampled = before + 1 if doing == "decode" else before
            # The frames of a chunk, and not one picture.
            if doing == at and len(calls) >= sampled and values.shape[2] > 1:
                fill()
            return whole(values, *rest, **named)

        return call

    hook = network.register_forward_pre_hook(count)
    codec.encode, codec.decode = filling("encode"), filling("decode")
    try:
        yield
    finally:
        hook.remove()
        del codec.encode, codec.decode
        if host.cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)


def survival(host, model, vae, look, text, case):
    """Two chunks by Animate Long Video, whose memory runs out in the second at one stage after the other, and the same
    without an interruption. Each start but the last ends; the last one finds the first chunk, and its result must
    equal the other bit for bit."""
    if host.lacks("av"):
        return [("out of memory, and a run that goes on", "not run: no PyAV here", None)]
    pose, _ = driving(case, 2 * case.frames - OVERLAP)
    (aligned,) = host.call("EverAnimatePatchModel", model=model)

    def animate(name):
        host.call(
            "EverAnimateAnimate",
            model=aligned,
            vae=vae,
            positive=text,
            negative=text,
            reference_images=picture(case),
            pose_video=pose,
            clip_vision=look,
            width=case.width,
            height=case.height,
            chunk_frames=case.frames,
            overlap=OVERLAP,
            steps=1,
            run_name=name,
        )

    animate("straight")
    rows = []
    # How many chunks each start samples before: the first one makes chunk 0, too.
    for at, before in (("encode", 1), ("sample", 0), ("decode", 0)):
        told = refusal(host, model, vae, at, before, lambda: animate("stopped"))
        rows.append((f"out of memory while {WHILE[at]}", *told))
    animate("stopped")
    from kept import latents_of

    one, other = (latents_of(host.folder / "everanimate" / name) for name in ("straight", "stopped"))
    same = len(one) == len(other) == 2 and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    rows.append(("a run that was ended three times, against one in one go", "equal bits" if same else "differs", same))
    return rows


def refusal(host, model, vae, at, before, start):
    """What is said where memory runs out in chunk 1, and whether that is what it should be."""
    try:
        with full(host, model, vae, at, before):
            start()
    except RuntimeError as error:
        # As its executor does.
        host.release()
        said = str(error)
        memory = "GPU memory" if host.cuda else "memory (RAM)"
        wanted = (
            f"Animate Long Video: out of {memory} while {WHILE[at]} in chunk 1; got ",
            "It needs less with ",
            "1 finished chunks are kept in ",
        )
        right = all(words in said for words in wanted) and host.out_of_memory(error) == host.cuda
        return ("says it, and the first chunk stays" if right else f"says: {said[:300]}"), right
    return "did not run out: the host found room, in tiles perhaps", None
