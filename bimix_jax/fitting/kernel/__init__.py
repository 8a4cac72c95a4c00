"""The kernel for batches: one target of a law with few exponents, in scalars.

The plain loop (`_solution.py`) supports every optimizer, the shrinkage and tied exponents. This
package holds the one case that batches consist of: damped Gauss-Newton on projected squares, and,
for residuals that are not linear in the amplitudes, on all coefficients from there. It is separate
because XLA fuses scalars of a batch into a few loops, but copies every small matrix that is
assembled, and passes over the points once per sum unless sums are requested together.

The kernel does not judge difficult cases (collinear columns, exponents that are not identified, a
long search): `settled` is False, and the plain loop has to fit them.
"""

from bimix_jax.fitting.kernel._fit import STEPS, evaluation, fit_in_kernel, suits_kernel

__all__ = ["STEPS", "evaluation", "fit_in_kernel", "suits_kernel"]
