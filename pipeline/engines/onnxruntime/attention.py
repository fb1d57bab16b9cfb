"""Attention in an exported graph as one operation a layer, without the transposes around it.

PyTorch writes `scaled_dot_product_attention` as ONNX's `Attention` (opset 23) over `[batch, heads, length, size]`.
The operator also takes `[batch, length, heads * size]` and splits the heads itself: that saves four transposes and
four reshapes a layer, a fifth of a small encoder's time (docs/decisions/0003-engines.md).
"""

from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter import RewriteRuleClassBase, RewriteRuleSet

_SWAP_HEADS = [0, 2, 1, 3]


class _SplitHeads(RewriteRuleClassBase):  # type: ignore[misc]  # untyped base class
    """Reshape → Transpose → Attention → Transpose → Reshape becomes Attention."""

    def pattern(self, op: Any, query: Any, key: Any, value: Any, mask: Any, q: Any, k: Any, v: Any, out: Any) -> Any:
        """The subgraph that PyTorch's exporter writes; every parameter matches anything."""
        split = [
            op.Transpose(op.Reshape(tensor, to), perm=_SWAP_HEADS) for tensor, to in ((query, q), (key, k), (value, v))
        ]
        attended = op.Attention(*split, mask, _outputs=["attended"])
        return op.Reshape(op.Transpose(attended, perm=_SWAP_HEADS), out)

    def check(self, context: Any, query: ir.Value, attended: ir.Value, **_: Any) -> bool:
        """The sizes must be known: three axes in, four in between, a fixed number of heads."""
        del context
        return (
            query.shape is not None
            and len(query.shape) == 3
            and attended.shape is not None
            and len(attended.shape) == 4
            and isinstance(attended.shape[1], int)
        )

    def rewrite(
        self, op: Any, query: ir.Value, key: ir.Value, value: ir.Value, mask: ir.Value, attended: ir.Value, **_: Any
    ) -> Any:
        """One Attention over three axes."""
        node = attended.producer()
        assert node is not None
        assert attended.shape is not None
        heads = attended.shape[1]
        # ONNX lets a mask be broadcast over the queries; ONNX Runtime 1.31 refuses that for three axes.
        one = op.Constant(value_ints=[1])
        every_query = op.Expand(mask, op.Concat(one, one, op.Shape(query, start=1, end=2), one, axis=0))
        attributes = {name: attribute for name, attribute in node.attributes.items() if name in ("scale", "is_causal")}
        return op.Attention(query, key, value, every_query, q_num_heads=heads, kv_num_heads=heads, **attributes)


class SplitHeadsInside(ir.passes.InPlacePass):
    """Turns every attention with a mask into the operator that splits the heads itself."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class; `modified` says whether there was such an attention."""
        count = RewriteRuleSet([_SplitHeads.rule()]).apply_to_model(model)
        # The shapes that the reshapes were given.
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, count > 0)
