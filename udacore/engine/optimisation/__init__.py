"""Parts of the model with their optimisers: groups, scaling, updates, and what is frozen."""
