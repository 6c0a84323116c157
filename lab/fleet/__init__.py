"""What runs the parts of the fleet as processes of this machine, and looks at them."""
