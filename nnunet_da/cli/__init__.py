"""The command `nnunet-da`: one module per verb, each imported only when its verb is used."""
