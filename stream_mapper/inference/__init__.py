"""What is computed with a model and stars: memberships, tracks, densities, and how certain they are."""
