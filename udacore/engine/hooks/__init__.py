"""What the hooks of a method give: losses one after another, and checks of every result."""
