"""The formulas, one file per family.

- `pointwise`: sigmoid focal, softmax focal, symmetric cross entropy
- `ranking`: average precision, recall at a quantile
- `partial_auc`: partial AUC over a band of false-positive rates
- `class_balance`: class weights from counts
- `schedules`: warm-up, blend, temperature
"""
