"""The formulas, one file per family.

- `pointwise`: sigmoid focal, softmax focal, symmetric cross entropy; `focal`, `classes`: their derivatives
- `hard_examples`: Poly-1, asymmetric loss, mined negatives
- `long_tail`: logits adjusted by class counts
- `ranking`: average precision, recall at a quantile, AUC
- `operating_point`: recall and precision at a count, a precision or a recall
- `ndcg`: NDCG of lists with graded labels
- `partial_auc`: partial AUC over a band of false-positive rates
- `gated`: the blend of a ranking loss and a contrastive cross entropy
- `class_balance`: class weights from counts
- `calibration`: prior correction of logits
- `schedules`: warm-up, blend, temperature
"""
