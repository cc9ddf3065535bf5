"""The other edges: what each of them reaches, told over the mesh, and what that is evidence for."""
