"""What of a signer is seen: skin, clothes, eyes, lashes, teeth and hair, as Blender objects that follow the pose.

Where the skin is bare, clothes end and hair grows is decided on the reference body at rest; since all bodies share the
mesh, it holds for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import bpy  # isort: skip  (first: it makes bmesh and mathutils importable)
import bmesh
import numpy as np
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree
from numpy.typing import NDArray

from tools.signer.cast import HairStyle, Linear, Outfit, Signer
from tools.signer.figure import SIDES, Array, Figure, unit
from tools.signer.skin import scalp

Face = list[int]
EYE_RADIUS = 0.0148
CLOTH_THICKNESS = 0.0035
STRIPES_PER_METRE = 42.0


def read_groups(mesh: Path) -> dict[str, list[Face]]:
    """Return the faces of base.obj by group: the body, and the helpers that clothes, lashes and teeth are made of."""
    groups: dict[str, list[Face]] = {}
    group = ""
    for line in mesh.read_text().splitlines():
        if line.startswith("g "):
            group = line[2:].strip()
        elif line.startswith("f "):
            groups.setdefault(group, []).append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    return groups


def make_material(name: str, colour: Linear, **inputs: float) -> bpy.types.Material:
    """Return a material of Blender's principled shader; `inputs` by name, with _ for a space."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*colour, 1)
    for key, value in inputs.items():
        shader.inputs[key.replace("_", " ")].default_value = value
    return material


class Surface:
    """A mesh of some of the figure's vertices.

    Attributes:
        used: The figure's vertices in the mesh's order.
    """

    def __init__(
        self,
        name: str,
        rest: Array,
        faces: Sequence[Face],
        material: bpy.types.Material,
        smooth: int = 1,
        lift: float = 0,
    ) -> None:
        self.used = np.unique(np.concatenate([np.asarray(face) for face in faces]))
        number = {int(vertex): index for index, vertex in enumerate(self.used)}
        self.mesh = bpy.data.meshes.new(name)
        self.mesh.from_pydata(rest[self.used].tolist(), [], [[number[vertex] for vertex in face] for face in faces])
        self.mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
        self.mesh.materials.append(material)
        self.object = bpy.data.objects.new(name, self.mesh)
        bpy.context.scene.collection.objects.link(self.object)
        if lift:
            displace = self.object.modifiers.new("lift", "DISPLACE")
            displace.strength, displace.mid_level = lift, 0.0
        if smooth:
            subdivide = self.object.modifiers.new("subdivision", "SUBSURF")
            subdivide.levels = subdivide.render_levels = smooth

    @classmethod
    def flat(cls, name: str, corners: Sequence[tuple[float, float, float]], material: bpy.types.Material) -> Surface:
        """Return one rectangle."""
        return cls(name, np.array(corners), [[0, 1, 2, 3]], material, smooth=0)

    def follow(self, vertices: Array) -> None:
        """Take the posed positions of the figure's vertices."""
        self.mesh.vertices.foreach_set("co", vertices[self.used].astype(np.float32).ravel())
        self.mesh.update()


class Costume:
    """All objects of one signer."""

    def __init__(self, signer: Signer, figure: Figure, reference: Figure, skin: Path, mesh: Path) -> None:
        self._figure, self._reference = figure, reference
        groups = read_groups(mesh)
        body, rest = groups["body"], figure.rest
        torso = ("spine", "clavicle", "shoulder", "breast", "upperarm", "pelvis", "upperleg", "root", "lowerarm01")
        covered = figure.bone_share(*torso)
        bare = (covered <= 0.97) | (reference.rest[:, 2] > 0.48)
        visible = [face for face in body if bare[face].any()]
        skin_surface = Surface("body", rest, visible, _skin_material(skin))
        self._lay_texture(skin_surface.mesh, visible)
        lashes = [face for name, faces in groups.items() if "lash" in name for face in faces]
        teeth = groups["helper-upper-teeth"] + groups["helper-lower-teeth"]
        tights = groups["helper-tights"]
        cloth = [face for face in tights if covered[face].min() > 0.2 and reference.rest[face][:, 2].min() > -0.3]
        self._surfaces = [
            skin_surface,
            Surface("lashes", rest, lashes, make_material("lash", (0.012, 0.008, 0.006), Roughness=0.8, Alpha=0.75), 0),
            Surface("teeth", rest, teeth, make_material("teeth", (0.75, 0.70, 0.62), Roughness=0.3)),
            Surface(
                "tongue", rest, groups["helper-tongue"], make_material("tongue", (0.45, 0.14, 0.13), Roughness=0.4)
            ),
            self._sew(cloth, signer.outfit),
        ]
        self._hair = _grow_hair(figure, reference, body, signer)
        eye_group = np.unique(groups["helper-l-eye"])
        size = np.ptp(rest[eye_group], axis=0).max() / np.ptp(reference.rest[eye_group], axis=0).max()
        self._eyes = {side: _make_eye(EYE_RADIUS * float(size), signer.iris) for side in SIDES}

    def follow(self, vertices: Array, head: Array) -> None:
        """Take a pose: the figure's vertices, (vertices, 3), and the transform of its head, (3, 4)."""
        for surface in self._surfaces:
            surface.follow(vertices)
        place = Matrix(np.vstack([head, [0, 0, 0, 1]]).tolist())
        self._hair.matrix_world = place
        for side, eye in self._eyes.items():
            eye.matrix_world = place @ Matrix.Translation(self._figure.head(f"eye.{side}").tolist())

    def _lay_texture(self, mesh: bpy.types.Mesh, faces: Sequence[Face]) -> None:
        """Give each corner of the faces its texture coordinates; anny's faces may begin at another corner."""
        figure = self._figure
        known = {
            tuple(sorted(face)): dict(zip(face, uv, strict=True))
            for face, uv in zip(figure.faces.tolist(), figure.face_uv.tolist(), strict=True)
        }
        corners = [known[tuple(sorted(face))][vertex] for face in faces for vertex in face]
        mesh.uv_layers.new(name="uv").data.foreach_set("uv", figure.uv[corners].astype(np.float32).ravel())

    def _sew(self, faces: Sequence[Face], outfit: Outfit) -> Surface:
        """Return a top: cut where its attribute `cut` is negative, with stripes where asked for."""
        material = make_material("cloth", outfit.colour, Roughness=0.95, Sheen_Weight=0.15)
        surface = Surface("cloth", self._figure.rest, faces, material, lift=CLOTH_THICKNESS)
        place = self._reference.rest[surface.used]
        cut = np.linalg.norm((place - [0, -0.035, 0.655]) / [1, 1, 0.95], axis=1) - outfit.neckline
        for side in SIDES:
            elbow, wrist = (self._reference.head(f"{bone}.{side}") for bone in ("lowerarm01", "wrist"))
            along = (place - elbow) @ (wrist - elbow) / ((wrist - elbow) @ (wrist - elbow))
            on_arm = (np.abs(place[:, 0]) > 0.25) & (np.sign(place[:, 0]) == np.sign(elbow[0]))
            cut = np.where(on_arm, np.minimum(cut, (outfit.sleeve - along) * 0.2), cut)
        attributes = surface.mesh.attributes
        attributes.new("cut", "FLOAT", "POINT").data.foreach_set("value", cut.astype(np.float32))
        attributes.new("rest", "FLOAT_VECTOR", "POINT").data.foreach_set("vector", place.astype(np.float32).ravel())
        _weave(material, outfit)
        return surface


def _skin_material(texture: Path) -> bpy.types.Material:
    material = make_material(
        "skin", (0.6, 0.4, 0.3), Roughness=0.48, Subsurface_Weight=0.18, Subsurface_Scale=0.006, Specular_IOR_Level=0.4
    )
    nodes, links = material.node_tree.nodes, material.node_tree.links
    image, where, noise, bump = (nodes.new(f"ShaderNode{kind}") for kind in ("TexImage", "UVMap", "TexNoise", "Bump"))
    image.image = bpy.data.images.load(str(texture.resolve()))
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 350, 4
    bump.inputs["Strength"].default_value, bump.inputs["Distance"].default_value = 0.25, 0.0006
    links.new(image.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    links.new(where.outputs["UV"], noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], bump.inputs["Height"])
    links.new(bump.outputs["Normal"], nodes["Principled BSDF"].inputs["Normal"])
    return material


def _weave(material: bpy.types.Material, outfit: Outfit) -> None:
    """Add folds, stripes, neckline and sleeves to a cloth's material."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = nodes["Principled BSDF"]

    def read(attribute: str) -> bpy.types.Node:
        node = nodes.new("ShaderNodeAttribute")
        node.attribute_name = attribute
        return node

    def compute(operation: str, value: bpy.types.NodeSocket, second: float) -> bpy.types.NodeSocket:
        node = nodes.new("ShaderNodeMath")
        node.operation = operation
        node.inputs[1].default_value = second
        links.new(value, node.inputs[0])
        return node.outputs[0]

    links.new(compute("GREATER_THAN", read("cut").outputs["Fac"], 0.0), shader.inputs["Alpha"])
    place = read("rest").outputs["Vector"]
    noise, bump = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeBump")
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 14, 5
    noise.inputs["Distortion"].default_value = 1.2
    bump.inputs["Strength"].default_value, bump.inputs["Distance"].default_value = 0.8, 0.02
    links.new(place, noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], bump.inputs["Height"])
    links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    if outfit.stripes:
        split, mix = nodes.new("ShaderNodeSeparateXYZ"), nodes.new("ShaderNodeMixRGB")
        links.new(place, split.inputs[0])
        bands = compute("FRACT", compute("MULTIPLY", split.outputs["Z"], STRIPES_PER_METRE / 2), 0.0)
        links.new(compute("GREATER_THAN", bands, 0.62), mix.inputs["Fac"])
        mix.inputs["Color1"].default_value = (*outfit.colour, 1)
        mix.inputs["Color2"].default_value = (*outfit.stripes, 1)
        links.new(mix.outputs[0], shader.inputs["Base Color"])


def _make_eye(radius: float, iris: Linear) -> bpy.types.Object:
    """Return an eyeball that looks along -y: pupil, iris and white by the angle from its axis."""
    white = make_material("eye", (1, 1, 1), Roughness=0.08)
    colour = white.node_tree.nodes.new("ShaderNodeVertexColor")
    colour.layer_name = "colour"
    white.node_tree.links.new(colour.outputs["Color"], white.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
    mesh = bpy.data.meshes.new("eye")
    ball = bmesh.new()
    turn = Matrix.Rotation(np.pi / 2, 4, "X")
    bmesh.ops.create_uvsphere(ball, u_segments=48, v_segments=96, radius=radius, matrix=turn)
    ball.to_mesh(mesh)
    forward = np.array([-vertex.co[1] for vertex in mesh.vertices]) / radius
    degrees = np.degrees(np.arccos(np.clip(forward, -1, 1)))
    black, rim = (0.005, 0.005, 0.005), tuple(0.25 * channel for channel in iris)
    inner, outer = tuple(0.65 * channel for channel in iris), tuple(0.5 * channel for channel in iris)
    stops = [0, 7.5, 8.5, 14, 20, 22.5, 24.5, 60, 180]
    shades = np.array([black, black, inner, iris, outer, rim, (0.78, 0.74, 0.70), (0.72, 0.62, 0.57), (0.6, 0.4, 0.36)])
    channels = [np.interp(degrees, stops, shades[:, channel]) for channel in range(3)]
    rgba = np.stack([*channels, np.ones(len(degrees))], axis=1).astype(np.float32)
    mesh.color_attributes.new("colour", "FLOAT_COLOR", "POINT").data.foreach_set("color", rgba.ravel())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.materials.append(white)
    eye = bpy.data.objects.new("eye", mesh)
    bpy.context.scene.collection.objects.link(eye)
    return eye


# Strands, the points of each and the metres between them, how far they stand off the skull, how much they waver.
_STRANDS: dict[HairStyle, tuple[int, int, float, tuple[float, float], float]] = {
    "knot": (12000, 14, 0.017, (0.004, 0.011), 0.15),
    "bob": (12000, 19, 0.015, (0.005, 0.013), 0.12),
    "short": (14000, 5, 0.010, (0.006, 0.016), 0.45),
    "cropped": (16000, 3, 0.004, (0.002, 0.005), 0.8),
}
_KNOT = np.array([0.0, 0.105, 0.83])
# On the reference body: below this height the strands of a bob hang freely, down to the next.
_EARS, _BOB_ENDS = 0.785, 0.695


def _grow_hair(figure: Figure, reference: Figure, body: Sequence[Face], signer: Signer) -> bpy.types.Object:
    """Return hair that is combed back over the skull, to a knot or cut short; it moves rigidly with the head."""
    count, points, step, (low, high), waver = _STRANDS[signer.hair]
    rng = np.random.default_rng(1)
    skull = BVHTree.FromPolygons(figure.rest.tolist(), body)
    anchor = int(np.linalg.norm(reference.rest - _KNOT, axis=1).argmin())
    shift = figure.rest[anchor] - reference.rest[anchor]
    knot = _KNOT + shift
    curve = bpy.data.curves.new("hair", "CURVE")
    curve.dimensions, curve.bevel_depth, curve.bevel_resolution, curve.use_fill_caps = "3D", 0.00055, 0, False
    for root in _hair_roots(figure, reference, body, count, rng):
        lift, own = rng.uniform(low, high), rng.normal(size=3) * waver
        place, strand = root, []
        for number in range(points):
            near, normal, _, _ = skull.find_nearest(Vector(place))
            on_skull, out = np.array(near), np.array(normal)
            strand.append(on_skull + out * (0.0005 + lift * min(1.0, number / min(4, points - 1))))
            to_knot = knot - on_skull
            if np.linalg.norm(to_knot) < 0.03:
                break
            ahead = unit(to_knot) + own * 0.4 + np.array([0, 0, 0.25]) * max(0.0, 1 - number / 4)
            if signer.hair == "bob":
                ahead = np.array([0.7 * np.sign(root[0]), 0.75, -0.6]) + own * 0.4
                if on_skull[2] < _EARS + shift[2]:
                    strand += _hang(strand[-1], _BOB_ENDS + shift[2], step)
                    break
            place = on_skull + unit(ahead - out * (out @ ahead)) * step
        if len(strand) < 2:
            continue
        spline = curve.splines.new("POLY")
        spline.points.add(len(strand) - 1)
        radius = np.linspace(1, 0.6, len(strand)) * rng.uniform(0.6, 1.2)
        spline.points.foreach_set("co", np.hstack([strand, np.ones((len(strand), 1))]).astype(np.float32).ravel())
        spline.points.foreach_set("radius", radius.astype(np.float32))
    red, green, blue = (np.array(signer.palette.hair) / 255) ** 2.2
    curve.materials.append(make_material("hair", (red, green, blue), Roughness=0.45, Specular_IOR_Level=0.4))
    hair = bpy.data.objects.new("hair", curve)
    bpy.context.scene.collection.objects.link(hair)
    return hair


def _hang(start: Array, lowest: float, step: float) -> list[Array]:
    """Return the points of a strand that falls straight down from a place."""
    return [start - [0, 0, step * number] for number in range(1, max(2, int((start[2] - lowest) / step)))]


def _hair_roots(
    figure: Figure, reference: Figure, body: Sequence[Face], count: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Yield places on the figure's skin above the reference's hairline, evenly spread, not on the ears."""
    quads: NDArray[np.int64] = np.array([face for face in body if len(face) == 4])
    quads = quads[scalp(reference.rest[quads].mean(axis=1)) > -0.004]
    corner = reference.rest[quads]
    area = np.linalg.norm(np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1]), axis=1)
    chosen = quads[rng.choice(len(quads), count, p=area / area.sum())]
    u, v = rng.random((2, count, 1))
    shares = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=1)
    known, own = (np.asarray((shares * body_rest[chosen]).sum(axis=1)) for body_rest in (reference.rest, figure.rest))
    grows = scalp(known) > rng.normal(size=count) * 0.0015
    ear = (np.abs(known[:, 0]) > 0.066) & (known[:, 2] < 0.815) & (known[:, 1] < 0.0)
    yield from own[grows & ~ear]
