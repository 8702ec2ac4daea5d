"""Whether the packages that every command needs are here, and how to install them.

A job that Ray starts from a checkout (`ray job submit --working-dir .`) runs with the Python of the cluster, which may
have Ray and nothing else.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

# Module -> distribution, for each of the `dependencies` in pyproject.toml.
DEPENDENCIES = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "aiohttp": "aiohttp",
    "array_api_compat": "array-api-compat",
    "av": "av",
    "click": "click",
    "cv2": "opencv-python-headless",
    "natsort": "natsort",
    "numpy": "numpy",
    "obstore": "obstore",
    "pip": "pip",
    "platformdirs": "platformdirs",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "ray": "ray[default]",
    "rich": "rich",
    "yaml": "pyyaml",
}
# Ray replaces the variable by the folder where a node has put the working directory.
INSTALL_WITH_THE_JOB = (
    """ray job submit --working-dir . --runtime-env-json '{"pip": ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"]}' -- …"""
)


def missing_packages(error: ImportError) -> str:
    """Return the message for a failed import; an empty text if the module is not one that every command needs."""
    if not isinstance(error, ModuleNotFoundError) or (error.name or "").partition(".")[0] not in DEPENDENCIES:
        return ""
    missing = [name for module, name in DEPENDENCIES.items() if not find_spec(module)]
    return (
        f"Packages that phoenix_ray needs are not installed for {sys.executable}: {', '.join(missing)}. "
        f"Install phoenix_ray, which brings them, on every node: {sys.executable} -m pip install CHECKOUT. "
        f"Or let Ray install it on each node before the job: {INSTALL_WITH_THE_JOB} (jobs/README.md)."
    )
