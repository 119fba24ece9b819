"""What alignment did to each weight, V = W_aligned - W_base, and the directions it went in.

Source: Hsu et al., "Safe LoRA" (NeurIPS 2024). A product with C = V V' / |V| is two thin products:
C B = V (V' B) / |V|, so that no matrix of d_out x d_out is formed. C is no projector: its
eigenvalues are s^2 / |V| for the singular values s of V. U U', with U the left singular vectors,
is one.
"""

import torch

from grounded.errors import GroundedError


class Alignment:
    """What alignment changed in a model's modules, paired by name; biases are left alone."""

    def __init__(self, aligned: torch.nn.Module, pretrained: torch.nn.Module) -> None:
        self._aligned, self._pretrained = (
            {
                name: module.weight.detach()
                for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear)
            }
            for model in (aligned, pretrained)
        )

    def change(self, name: str) -> torch.Tensor:
        """V of a module (d_out x d_in, fp32); GroundedError where the two models do not pair."""
        aligned, pretrained = self._aligned.get(name), self._pretrained.get(name)
        shapes = [None if w is None else tuple(w.shape) for w in (aligned, pretrained)]
        if aligned is None or pretrained is None or shapes[0] != shapes[1]:
            raise GroundedError(
                f"{name}: shape before alignment: found {shapes[1]}, wanted {shapes[0]}"
            )
        return aligned.float() - pretrained.to(aligned.device).float()


def scaled(v: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """C b = V (V' b) / |V|, of b (d_out x r); zero where alignment changed nothing."""
    size = v.norm()
    return v @ (v.T @ b) / size if size > 0 else torch.zeros_like(b)


def subspace(v: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """U (d_out x r): the left singular vectors that hold a share (0..1] of |V|^2.

    With share 1, U U' = V (V'V)^+ V', the exact projector on what alignment moved.
    """
    u, s, _ = torch.linalg.svd(v, full_matrices=False)
    s = s.double()
    s[s < s[0] * max(v.shape) * torch.finfo(v.dtype).eps] = 0.0
    kept = s.square().cumsum(0) / s.square().sum().clamp(min=1e-300)
    rank = int((kept < share - 1e-12).sum()) + 1
    return u[:, : min(rank, int((s > 0).sum()))]


def at_random(like: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Orthonormal columns, as many and as long as those of `like`, in directions drawn evenly."""
    return torch.linalg.qr(torch.randn(like.shape, generator=draw)).Q


def projected(u: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """U U' b, of b (d_out x r)."""
    return u @ (u.T @ b)
