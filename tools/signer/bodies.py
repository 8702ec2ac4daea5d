"""Bodies: MakeHuman's base mesh in several phenotypes, saved as one .npz file each.

Package `anny` shapes the mesh. Nothing after this step needs it, nor torch.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import anny
import numpy as np
import torch

from tools.signer.figure import MESH_FILE, REFERENCE

# Shapes of the face that `motion` animates, by the names that ARKit gave them.
ACTIONS = (
    "jawOpen",
    "mouthPucker",
    "mouthSmileLeft",
    "mouthSmileRight",
    "browInnerUp",
    "eyeBlinkLeft",
    "eyeBlinkRight",
)
# anny's phenotypes, 0 to 1 each.
PHENOTYPES: dict[str, dict[str, float]] = {
    REFERENCE: {"gender": 0.15, "age": 0.55, "muscle": 0.50, "weight": 0.45, "height": 0.50, "proportions": 0.7},
    "broad": {
        "gender": 0.95, "age": 0.55, "muscle": 0.60, "weight": 0.50, "height": 0.50, "proportions": 0.7,
        "african": 0.9, "asian": 0.0, "caucasian": 0.1,
    },
    "older": {
        "gender": 0.10, "age": 0.82, "muscle": 0.45, "weight": 0.55, "height": 0.48, "proportions": 0.6,
        "african": 0.0, "asian": 0.1, "caucasian": 0.9,
    },
    "slim": {
        "gender": 0.90, "age": 0.50, "muscle": 0.50, "weight": 0.42, "height": 0.48, "proportions": 0.7,
        "african": 0.0, "asian": 0.9, "caucasian": 0.1,
    },
    "young": {
        "gender": 0.05, "age": 0.52, "muscle": 0.5, "weight": 0.50, "height": 0.48, "proportions": 0.75,
        "african": 0.55, "asian": 0.2, "caucasian": 0.25,
    },
}  # fmt: skip


def save_bodies(folder: Path) -> None:
    """Write one file for each phenotype, which `figure.Figure` reads, and MakeHuman's base.obj."""
    shutil.copyfile(Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs" / MESH_FILE, folder / MESH_FILE)
    model = anny.Anny(
        rig="makehuman",
        topology="makehuman",
        facial_actions=list(ACTIONS),
        local_changes="none",
        phenotypes="all",
    ).float()
    pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    weights = np.zeros((len(model.vertex_bone_indices), model.bone_count), np.float32)
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    for name, phenotype in PHENOTYPES.items():
        base = model(pose_parameters=pose, phenotype_kwargs=phenotype, facial_actions={})
        vertices = base["rest_vertices"][0].numpy()
        moved = [
            model(pose_parameters=pose, phenotype_kwargs=phenotype, facial_actions={action: 1.0})["rest_vertices"][0]
            for action in ACTIONS
        ]
        np.savez_compressed(
            folder / f"{name}.npz",
            vertices=vertices,
            actions=np.stack([shape.numpy() - vertices for shape in moved]),
            action_names=np.array(ACTIONS),
            weights=weights,
            bones=np.array(model.bone_labels),
            parents=np.array([-1 if parent is None else int(parent) for parent in model.bone_parents]),
            heads=base["rest_bone_heads"][0].numpy(),
            tails=base["rest_bone_tails"][0].numpy(),
            faces=model.faces.numpy(),
            uv=model.texture_coordinates.numpy(),
            face_uv=model.face_texture_coordinate_indices.numpy(),
        )
