# SPDX-License-Identifier: Apache-2.0
"""Landmarks of an earlier evaluation, in a file: finding them takes most of the time, and they seldom change.

One .npz with the fields of `PersonLandmarks`, one row a picture, what its crops said, the hands, the pictures' names.
Imports: numpy, torch.
"""

from pathlib import Path

import numpy as np
import torch

from ikol.body.array_archive import array_names, read_arrays
from ikol.errors import FileFormatError
from ikol.regressor.hands import HAND_SHAPES, HandLandmarks
from ikol.regressor.landmarks import NUM_INNER, NUM_LANDMARKS
from ikol.regressor.person import CropSamples, PersonLandmarks

MAX_BYTES = 2 << 30  # unpacked; a picture takes 30 kB
_NAMES = "names"
_FIELDS: dict[str, tuple[int, ...]] = {  # of `PersonLandmarks`, with their shapes
    "score": (),
    "box": (4,),
    "image_points": (NUM_LANDMARKS, 2),
    "image_sigma": (NUM_LANDMARKS,),
    "world_points": (NUM_LANDMARKS, 3),
    "world_sigma": (NUM_LANDMARKS, 3),
    "visibility": (NUM_LANDMARKS,),
    "confidence": (NUM_LANDMARKS,),
    "in_picture": (NUM_LANDMARKS,),
}
_CROP_FIELDS: dict[str, tuple[int, ...]] = {  # of `CropSamples`, in its order; the crops of all pictures in one row
    "points": (NUM_LANDMARKS, 2),
    "world": (NUM_LANDMARKS, 3),
    "visibility": (NUM_LANDMARKS,),
    "presence": (),
}


class LandmarkCache:
    """Landmarks by the pictures' names; what is kept is written by `save`.

    Args:
        path: the file; need not exist.

    Raises:
        FileFormatError: it exists and is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, PersonLandmarks] = {}
        self._is_changed = False
        if path.exists():
            self._read()

    def __len__(self) -> int:
        """How many pictures are kept."""
        return len(self._kept)

    def find(self, name: str) -> PersonLandmarks | None:
        """Return the landmarks of a picture, if they are kept."""
        return self._kept.get(name)

    def keep(self, name: str, person: PersonLandmarks) -> None:
        """Remember the landmarks of a picture."""
        self._kept[name] = person
        self._is_changed = True

    def save(self) -> None:
        """Write the file, if there is anything new."""
        if not self._is_changed:
            return
        rows = list(self._kept.values())
        arrays = {key: np.stack([np.asarray(getattr(person, key)) for person in rows]) for key in _FIELDS}
        arrays[_NAMES] = np.array(list(self._kept))
        arrays["doubts"] = np.array([" ".join(person.doubts) for person in rows])
        crops = [person.samples for person in rows]
        counts = [0 if each is None else len(each.points) for each in crops]
        arrays["crops"] = np.array(counts)
        arrays["crops_size"] = np.array([0.0 if each is None else each.size for each in crops], dtype=np.float64)
        arrays["has_inner"] = np.array([person.inner is not None for person in rows])
        inner = [person.inner.half().numpy() for person in rows if person.inner is not None]
        arrays["inner"] = np.stack(inner) if inner else np.zeros((0, 2, NUM_INNER), np.float16)
        arrays["has_hands"] = np.array([person.hands is not None for person in rows])
        for key, shape in HAND_SHAPES.items():
            hands = [getattr(person.hands, key).numpy() for person in rows if person.hands is not None]
            arrays[f"hand_{key}"] = np.stack(hands) if hands else np.zeros((0, *shape), np.float32)
        for key, shape in _CROP_FIELDS.items():
            parts = [np.zeros((0, *shape), np.float32)]
            parts += [getattr(each, key).numpy() for each in crops if each is not None]
            arrays[f"crops_{key}"] = np.concatenate(parts)
        with self.path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        self._is_changed = False

    def _read(self) -> None:
        keys = (
            _NAMES,
            *_FIELDS,
            "doubts",
            "crops",
            "crops_size",
            "has_inner",
            "inner",
            "has_hands",
            *(f"hand_{key}" for key in HAND_SHAPES),
            *(f"crops_{key}" for key in _CROP_FIELDS),
        )
        data = self.path.read_bytes()
        held = array_names(data, self.path.name)
        missing = [key for key in keys if key not in held]
        if missing and _FIELDS.keys() <= {*held}:
            raise FileFormatError(
                f"{self.path.name} was written by another version, it has no {', '.join(missing)}; delete the file to "
                "have it made anew"
            )
        arrays = read_arrays(data, keys, self.path.name, MAX_BYTES)
        names, crops = arrays[_NAMES], arrays["crops"]
        if crops.dtype.kind != "i" or crops.ndim != 1 or names.dtype.kind != "U" or arrays["doubts"].dtype.kind != "U":
            raise FileFormatError(f"{self.path.name} holds other arrays than landmarks of pictures; name another file")
        if (crops < 0).any():
            raise FileFormatError(f"{self.path.name} is damaged: crops has negative numbers; delete it")
        expected = {key: (len(names), *shape) for key, shape in _FIELDS.items()}
        expected |= {f"crops_{key}": (int(crops.sum()), *shape) for key, shape in _CROP_FIELDS.items()}
        expected |= {key: (len(names),) for key in ("crops", "crops_size", "doubts", "has_inner", "has_hands")}
        expected["inner"] = (int(np.count_nonzero(arrays["has_inner"])), 2, NUM_INNER)
        num_hands = int(np.count_nonzero(arrays["has_hands"]))
        expected |= {f"hand_{key}": (num_hands, *shape) for key, shape in HAND_SHAPES.items()}
        for key, shape in expected.items():
            if arrays[key].shape != shape:
                raise FileFormatError(
                    f"{self.path.name}: {key} has shape {arrays[key].shape}, expected {shape}; delete the file to have "
                    "it made anew"
                )
        ends = np.cumsum(crops)
        inner = iter(torch.from_numpy(arrays["inner"].astype(np.float32)))
        hands = (
            HandLandmarks(*(torch.from_numpy(arrays[f"hand_{key}"][number].copy()) for key in HAND_SHAPES))
            for number in range(num_hands)
        )
        for row, name in enumerate(names.tolist()):
            span = slice(int(ends[row] - crops[row]), int(ends[row]))
            tensors = {key: torch.from_numpy(arrays[key][row].copy()) for key in _FIELDS if key != "score"}
            of_crops = {key: torch.from_numpy(arrays[f"crops_{key}"][span].copy()) for key in _CROP_FIELDS}
            self._kept[name] = PersonLandmarks(
                float(arrays["score"][row]),
                **tensors,
                samples=CropSamples(size=float(arrays["crops_size"][row]), **of_crops) if crops[row] else None,
                doubts=tuple(str(arrays["doubts"][row]).split()),
                inner=next(inner) if arrays["has_inner"][row] else None,
                hands=next(hands) if arrays["has_hands"][row] else None,
            )
