"""Pictures of what a fit knows, in scikit-learn's Display convention."""

from laplace_nn.displays.band import PredictiveBandDisplay
from laplace_nn.displays.coverage import CoverageDisplay
from laplace_nn.displays.decision_boundary import DecisionBoundaryDisplay
from laplace_nn.displays.evidence import EvidenceDisplay
from laplace_nn.displays.hessian import HessianDisplay
from laplace_nn.displays.hinton import HintonDisplay
from laplace_nn.displays.pairs import PosteriorPairsDisplay
from laplace_nn.displays.prediction_error import PredictionErrorDisplay
from laplace_nn.displays.relevance import RelevanceDisplay
from laplace_nn.displays.reliability import ReliabilityDisplay
from laplace_nn.displays.restarts import RestartsDisplay
from laplace_nn.displays.spectrum import SpectrumDisplay
from laplace_nn.displays.traces import ReestimationDisplay
from laplace_nn.displays.training import TrainingDisplay

__all__ = [
    "CoverageDisplay",
    "DecisionBoundaryDisplay",
    "EvidenceDisplay",
    "HessianDisplay",
    "HintonDisplay",
    "PosteriorPairsDisplay",
    "PredictionErrorDisplay",
    "PredictiveBandDisplay",
    "ReestimationDisplay",
    "RelevanceDisplay",
    "ReliabilityDisplay",
    "RestartsDisplay",
    "SpectrumDisplay",
    "TrainingDisplay",
]
