"""The scene in Blender: a dressed figure before a wall, with lights and a camera, rendered by Cycles."""

from __future__ import annotations

import os
from pathlib import Path

import bpy  # isort: skip  (first: it makes mathutils importable)
import numpy as np
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree

from tools.signer.cast import Camera, Linear, Room, Signer
from tools.signer.costume import Costume, Surface
from tools.signer.figure import FACE_VERTICES, Array, Figure, unit
from tools.signer.motion import ARM_LENGTH, Pose

# Rendered at one and a half times the size of the demo's frames, and reduced.
WIDTH, HEIGHT = 315, 390
# Metres from the shoulders to the plane in which hands move, for an arm of `ARM_LENGTH`.
HANDS_AHEAD = 0.25
# A joint is hidden if something lies in front of it by more than this many metres: more than its own flesh.
FLESH = {"hip": 0.20, "shoulder": 0.10, "elbow": 0.08, "wrist": 0.05, "eye": 0.03, "hand": 0.035, "face": 0.01}


class View:
    """A pinhole camera: what `cast.Camera` says, for one body."""

    def __init__(self, camera: Camera, figure: Figure) -> None:
        scale = figure.arm_length / ARM_LENGTH
        yaw, pitch = np.radians(camera.yaw), np.radians(camera.pitch)
        target = figure.neck * [0, 0, 1] + scale * np.array([0, -HANDS_AHEAD, camera.height])
        back = np.array([np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
        self.position = target + camera.distance * back
        self.half_angle = float(np.arctan(camera.half_height * scale / camera.distance))
        forward = -back
        right = unit(np.cross(forward, [0.0, 0.0, 1.0]))
        # Rows: to the right, up and ahead in the picture.
        self.turn = np.stack([right, np.cross(right, forward), forward])

    def project(self, points: Array) -> Array:
        """Return x and y in pixels of WIDTH x HEIGHT and the depth in metres of points, (n, 3)."""
        across, up, depth = self.turn @ (points - self.position).T
        focal = HEIGHT / 2 / np.tan(self.half_angle)
        return np.stack([WIDTH / 2 + focal * across / depth, HEIGHT / 2 - focal * up / depth, depth], axis=1)


class Studio:
    """One signer's scene. `pose` moves the figure; `render` takes the picture."""

    def __init__(self, signer: Signer, figure: Figure, reference: Figure, skin: Path, mesh: Path, samples: int) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._figure, self._scene = figure, bpy.context.scene
        self._costume = Costume(signer, figure, reference, skin, mesh)
        self._view = View(signer.camera, figure)
        self._build_room(signer.room)
        self._place_camera()
        self._configure(samples)

    def pose(self, pose: Pose) -> tuple[dict[str, Array], Array]:
        """Move the figure; return its true points by name, in world coordinates, and the posed vertices."""
        transforms = self._figure.transforms(pose.local)
        vertices = self._figure.vertices(transforms, pose.actions)
        self._costume.follow(vertices, self._figure.transform_of(transforms, "head"))
        points = self._figure.joints(transforms)
        return points | {f"face/{name}": vertices[vertex] for name, vertex in FACE_VERTICES.items()}, vertices

    def see(self, points: dict[str, Array], vertices: Array) -> tuple[Array, Array]:
        """Return the points' pixels and depth, (points, 3), and which of them something else hides, (points,)."""
        tree = BVHTree.FromPolygons(vertices.tolist(), self._figure.faces.tolist())
        eye = Vector(self._view.position)
        hidden = []
        for name, point in points.items():
            to_point = Vector(point) - eye
            hit = tree.ray_cast(eye, to_point.normalized())[3]
            hidden.append(hit is not None and hit < to_point.length - _flesh(name))
        return self._view.project(np.stack(list(points.values()))), np.array(hidden)

    def render(self, file: Path) -> None:
        """Write the picture as PNG."""
        self._scene.render.filepath = str(file.resolve())
        bpy.ops.render.render(write_still=True)

    def _build_room(self, room: Room) -> None:
        middle = Vector(self._figure.neck.tolist())
        wall = Surface.flat(
            "wall", [(-6, 0.9, -4), (6, 0.9, -4), (6, 0.9, 5), (-6, 0.9, 5)], _shine(room.bottom, room.top)
        )
        walls = [wall]
        for panel in room.panels:
            left, right, low, high = panel.left, panel.right, panel.bottom, panel.top
            corners = [(left, 0.88, low), (right, 0.88, low), (right, 0.88, high), (left, 0.88, high)]
            walls.append(Surface.flat("panel", corners, _shine(panel.colour, panel.colour)))
        for surface in walls:
            surface.object.location = middle
        warm = room.warmth
        for name, place, size, power in (
            ("key", (-1.3, -2.0, 1.15), 1.2, room.key),
            ("fill", (1.6, -1.8, 0.35), 1.6, room.fill),
            ("rim", (0.9, 0.7, 1.35), 0.6, room.rim),
        ):
            light = bpy.data.lights.new(name, "AREA")
            light.size, light.energy = size, power
            light.color = (1 + 0.15 * warm, 1, 1 - 0.25 * warm)
            lamp = bpy.data.objects.new(name, light)
            lamp.location = middle + Vector(place)
            lamp.rotation_euler = (Vector((0, -0.1, 0)) - Vector(place)).to_track_quat("-Z", "Y").to_euler()
            self._scene.collection.objects.link(lamp)
        world = bpy.data.worlds.new("world")
        world.use_nodes = True
        background = world.node_tree.nodes["Background"]
        background.inputs[0].default_value = (0.85 + 0.15 * warm, 0.92, 1 - 0.2 * warm, 1)
        background.inputs[1].default_value = room.ambient
        self._scene.world = world

    def _place_camera(self) -> None:
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        camera.data.sensor_fit = "VERTICAL"
        camera.data.angle = 2 * self._view.half_angle
        right, up, ahead = self._view.turn
        place = np.eye(4)
        place[:3] = np.stack([right, up, -ahead, self._view.position], axis=1)
        camera.matrix_world = Matrix(place.tolist())
        self._scene.collection.objects.link(camera)
        self._scene.camera = camera

    def _configure(self, samples: int) -> None:
        render, cycles = self._scene.render, self._scene.cycles
        render.engine, cycles.device, cycles.samples = "CYCLES", "CPU", samples
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "FAST"
        cycles.max_bounces, cycles.transparent_max_bounces, cycles.caustics_reflective = 2, 4, False
        render.use_persistent_data, render.threads_mode, render.threads = True, "FIXED", os.cpu_count() or 1
        render.resolution_x, render.resolution_y, render.resolution_percentage = WIDTH, HEIGHT, 100
        render.image_settings.file_format = "PNG"
        self._scene.view_settings.view_transform = "Standard"


def _flesh(name: str) -> float:
    part, point = name.split("/")
    return FLESH[point.split("_")[-1] if part == "pose" else part.split("_")[-1]]


def _shine(bottom: Linear, top: Linear) -> bpy.types.Material:
    """Return a material that shines by itself, from one colour to another upwards: its pixels cost next to nothing."""
    material = bpy.data.materials.new("wall")
    material.use_nodes = True
    material.cycles.emission_sampling = "NONE"
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.remove(nodes["Principled BSDF"])
    where, split, ramp, mix, light = (
        nodes.new(f"ShaderNode{kind}") for kind in ("TexCoord", "SeparateXYZ", "MapRange", "MixRGB", "Emission")
    )
    ramp.inputs["From Min"].default_value, ramp.inputs["From Max"].default_value = -0.65, 0.55
    mix.inputs["Color1"].default_value, mix.inputs["Color2"].default_value = (*bottom, 1), (*top, 1)
    links.new(where.outputs["Object"], split.inputs[0])
    links.new(split.outputs["Z"], ramp.inputs["Value"])
    links.new(ramp.outputs[0], mix.inputs["Fac"])
    links.new(mix.outputs[0], light.inputs["Color"])
    links.new(light.outputs[0], nodes["Material Output"].inputs["Surface"])
    return material
