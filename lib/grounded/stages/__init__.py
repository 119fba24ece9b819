"""The four stages that measure: base models, fine-tuning, replies, verdicts.

Each is one function of a study and a unit (`stages.finetune.finetune("micro", unit)`), resumes
where it was stopped, and does nothing when its recorded inputs are current.
"""
