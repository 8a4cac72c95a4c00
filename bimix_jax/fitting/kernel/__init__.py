"""The lean search for batches: one target of a law with few exponents, in scalars.

The plain loop (`solve.py`) carries whatever an optimizer, the shrinkage or tied exponents may need.
Here is the one case that batches are made of: damped Gauss-Newton on projected squares, and, for
residuals that are not linear in the amplitudes, on all coefficients from there. Why it is apart:
XLA fuses scalars of a batch into a few loops, but makes a copy of every small matrix that is put
together, and passes over the points once for every sum that is not asked for together with others.

What is not plain sailing (collinear columns, exponents that the data leave open, a search that
takes long) is not judged here: `settled` is False, and the plain loop has to fit it.
"""

from bimix_jax.fitting.kernel.fit import STEPS, evaluation, fit_in_kernel, replaced, suits_kernel

__all__ = ["STEPS", "evaluation", "fit_in_kernel", "replaced", "suits_kernel"]
