"""One HTML report from metrics, curves and predictions; never imports nnunetv2."""
