"""Long tails of inputs, drawn in before the columns are standardised.

A few rows far out in a column set its scale: the others are then hard to tell apart, and the
network extrapolates wherever a new row lies far out too.
"""

from dataclasses import dataclass

import numpy as np

from laplace_nn.estimators.inputs import mean_and_scale

__all__ = ["LongTails"]

# Of a column, which stand for all of its rows; a power of two seldom falls between two of them.
N_QUANTILES = 1024
LONG_REACH = 3.0  # standard deviations, beyond which a tail may be called long
LEAST_GAIN = 0.05  # nats a row, by which the logarithm must bring a column nearer to a Gaussian


@dataclass(frozen=True)
class LongTails:
    """The columns that have long tails, and what draws them in.

    x' = asinh((x - origin) / unit), which is straight near the origin and ±ln(2|u|) far from it.
    The origin is an end of the column, where the other tail is the long one, or the median, where
    both are; the unit is the median distance from it, of the rows that are not at it: many zeros do
    not make a long tail of the others. So the units and signs of x make no difference, and since a
    logarithm has no bound, new rows far out stay far out.

    Parameters
    ----------
    columns : ndarray of int, shape (T,)
        Which columns have long tails.
    origins, units : ndarray of shape (T,)
        Of these columns, in the units of x.

    Examples
    --------
    >>> import numpy as np
    >>> from laplace_nn.estimators.tails import LongTails
    >>> x = np.random.default_rng(0).normal(size=(500, 1))
    >>> LongTails.found(np.hstack([x, np.exp(x), x**3])).columns
    array([1, 2])
    """

    columns: np.ndarray
    origins: np.ndarray
    units: np.ndarray

    @classmethod
    def none(cls) -> "LongTails":
        """Every column is taken as it is."""
        return cls(np.zeros(0, dtype=int), np.zeros(0), np.zeros(0))

    @classmethod
    def found(cls, X: np.ndarray, sample_weight: np.ndarray | None = None) -> "LongTails":
        """Those of X (N, D) with sample weights (N,), if given.

        A tail is long if it reaches beyond three standard deviations and if drawing it in brings
        the rows that are not at its origin nearer to a Gaussian, by the likelihood (Box & Cox 1964,
        equation 8). Columns of two values have none.
        """
        found, shares = [], (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
        quantiles = np.quantile(X, shares, axis=0, method="inverted_cdf", weights=sample_weight)
        mean, scale = mean_and_scale(quantiles, None)  # a constant column's scale is 1
        reaches = np.max(np.abs(quantiles - mean), axis=0) / scale
        for d in np.flatnonzero(reaches > LONG_REACH):
            x = quantiles[:, d]
            if not np.any((x != x[0]) & (x != x[-1])):
                continue
            places = [_place(x, origin) for origin in (x[0], x[-1], float(np.median(x)))]
            gain, origin, unit = max(places)
            if gain > LEAST_GAIN:
                found.append((d, origin, unit))
        if not found:
            return cls.none()
        columns, origins, units = zip(*found, strict=True)
        return cls(np.array(columns), np.array(origins), np.array(units))

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """X (N, D) with the long tails drawn in."""
        if not len(self.columns):
            return X
        out = np.array(X, dtype=np.float64)
        out[:, self.columns] = np.arcsinh((out[:, self.columns] - self.origins) / self.units)
        return out


def _place(x: np.ndarray, origin: float) -> tuple[float, float, float]:
    """What drawing in from an origin gains, in nats a row that is not there; origin and unit."""
    apart = x[x != origin] - origin
    unit = float(np.median(np.abs(apart)))
    u = apart / unit
    # The slope, 1 / √(1 + u²), makes the difference between densities of x and of x'.
    slopes = -0.5 * float(np.mean(np.log1p(u * u)))
    gain = float(np.log(np.std(u)) - np.log(np.std(np.arcsinh(u)))) + slopes
    return gain, float(origin), unit
