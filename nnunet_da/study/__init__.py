"""Studies: every arm under the same conditions, run as a workflow, answered with statistics fit for trained models."""
