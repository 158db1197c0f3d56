"""Tables, figures and numbers of a fitted model."""
