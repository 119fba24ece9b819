"""What the work of the study `smol` costs on this CPU, beside other tools for the same work."""
