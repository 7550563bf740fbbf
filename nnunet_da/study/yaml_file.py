"""YAML that refuses what it would silently drop."""

import re
from pathlib import Path
from typing import Any, ClassVar

from nnunet_da.errors import UserError

TAG = "tag:yaml.org,2002:"
# as most people write them: YAML 1.1 takes on, off, yes and no for booleans, 010 for 8, 1:30 for 90 and 1e-3 for a text
CORE = {  # name -> pattern, first letters
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
}


def read_yaml(file: Path) -> dict[str, Any]:
    """The object of a YAML file.

    Raises:
        UserError: no such file, no YAML, a name given twice, or no object.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a name that stands twice in one object, where PyYAML would keep the last one, and reads numbers as decimal."""

        yaml_implicit_resolvers: ClassVar = {
            letter: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(TAG) not in CORE]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != f"{TAG}merge"]
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                line = node.start_mark.line + 1
                raise UserError(f"{file}: every name may stand once in an object, '{twice[0]}' stands twice in the one of line {line}")
            return super().construct_mapping(node, deep)

    for name, (pattern, letters) in CORE.items():
        Loader.add_implicit_resolver(TAG + name, re.compile(rf"(?:{pattern})\Z"), list(letters))
    Loader.add_constructor(f"{TAG}int", lambda loader, node: int(loader.construct_scalar(node)))
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # a date or a number that there is not is a ValueError
        raise UserError(f"a study file must be readable YAML, {file} is not ({error}): correct it") from error
    if not isinstance(content, dict):
        raise UserError(f"a study file must be an object of names and values, {file} holds {type(content).__name__}: correct it")
    return content
