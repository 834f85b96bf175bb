"""The definitions; `azc.ops.table` lists the modules."""
