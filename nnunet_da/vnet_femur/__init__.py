"""The protocol of V-Net femur (arXiv:2006.05513): hold-out and folds by sex, and the scores that it reports."""
