"""YAML that refuses what it would silently drop."""

import re
from pathlib import Path
from typing import Any, ClassVar

from nnunet_da.errors import UserError

BOOLEAN = "tag:yaml.org,2002:bool"
TRUE_OR_FALSE = re.compile(r"true|True|TRUE|false|False|FALSE")  # as of YAML 1.2; 1.1 takes on, off, yes and no for booleans too


def read_yaml(file: Path) -> dict[str, Any]:
    """The object of a YAML file.

    Raises:
        UserError: no such file, no YAML, a name given twice, or no object.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a name that stands twice in one object, where PyYAML would keep the last one, and takes `on` and `off` for words."""

        yaml_implicit_resolvers: ClassVar = {
            letter: [(tag, pattern) for tag, pattern in resolvers if tag != BOOLEAN]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                line = node.start_mark.line + 1
                raise UserError(f"{file}: every name may stand once in an object, '{twice[0]}' stands twice in the one of line {line}")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(BOOLEAN, TRUE_OR_FALSE, list("tTfF"))
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"a study file was expected, but {file} does not exist: check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"a study file must be readable YAML, {file} is not ({error}): correct it") from error
    if not isinstance(content, dict):
        raise UserError(f"a study file must be an object of names and values, {file} holds {type(content).__name__}: correct it")
    return content
