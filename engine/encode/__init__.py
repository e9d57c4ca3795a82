"""Stage 2, encode: from columns of any type to numbers that kernels understand."""
