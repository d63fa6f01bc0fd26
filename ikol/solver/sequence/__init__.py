# SPDX-License-Identifier: Apache-2.0
"""Several frames solved together: smoothness, contacts, a floor, one shape for all."""

from ikol.solver.sequence.evidence import Contacts as Contacts
from ikol.solver.sequence.evidence import Floor as Floor
from ikol.solver.sequence.evidence import SequenceEvidence as SequenceEvidence
from ikol.solver.sequence.evidence import SmoothPoints as SmoothPoints
from ikol.solver.sequence.evidence import SmoothRotations as SmoothRotations
from ikol.solver.sequence.evidence import SmoothTranslation as SmoothTranslation
from ikol.solver.sequence.evidence import contact_sigma as contact_sigma
from ikol.solver.sequence.result import SequenceResult as SequenceResult
from ikol.solver.sequence.solve import solve_sequence as solve_sequence
