"""Statistics of trained models: the unit is a case and a training, never the case alone. Tables in, tables out."""
