"""Words to predictions: class sets and templates, zero-shot answers, a linear probe, several labels an image.

`load_class_set` and `load_templates` read what data/ or a file of your own holds, `prompts_for` puts them together;
`predict` answers zero-shot, `fit_probe` fits a linear probe, `score_sets` and `label_rates` serve several labels.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    class_sets="load_class_set load_templates prompts_for",
    class_list="list_class_sets",
    zeroshot="predict",
    probe="fit_probe",
    multilabel="score_sets label_rates",
)
