"""How the functions of the loop are compiled: as parts of one program, optimised once, as a whole.

numba optimises and assembles every function with all that it calls, and again in each caller; for
a hundred functions that call each other that takes a minute. A part is only lowered; the loop that
calls the parts is compiled as usual, which links, inlines and optimises all of them. Parts cannot
be called from Python.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import NativeLowering


class _PartLibrary(JITCodeLibrary):
    """Code that is linked into others and not run by itself."""

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=False)
class _Lowered(LoweringPass):
    """Lets callers find a part, which has no address."""

    _name = "gcsim_part"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        fndesc, call_helper, _, env = state.cr
        part = [fndesc].append  # numba wants a builtin here, and one that no other equals
        state.targetctx.insert_user_function(part, fndesc, [state.library])
        state.cr = _LowerResult(fndesc, call_helper, cfunc=part, env=env)
        return True


class _Part(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        self.state.flags.no_compile = True
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), "gcsim part")
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.add_pass_after(_Lowered, NativeLowering)
        manager.finalize()
        return [manager]


# Nothing counts references, for Python keeps all arrays alive (`gcsim.engine.compiled.world`).
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
_PART: dict[str, Any] = {
    "pipeline_class": _Part,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
compiled: Any = numba.njit(**_PART, **_OPTIONS)


def _stamp() -> tuple[tuple[str, float, int], ...]:
    """Of all sources that are compiled into the loop: numba looks at the caller's file alone."""
    engine = Path(__file__).parents[1]
    files = [*engine.rglob("*.py"), engine.parent / "machine" / "roofline.py"]
    found = sorted((str(file.relative_to(engine.parent)), file.stat()) for file in files)
    return tuple((name, stat.st_mtime, stat.st_size) for name, stat in found)


def entry(function: Callable[..., Any]) -> Any:
    """Compile what Python calls, and keep it on disk as long as no source changes."""
    made = numba.njit(cache=True, **_OPTIONS)(function)
    kept = getattr(made._cache, "_cache_file", None)
    if kept is not None:  # else there is no folder to keep it in
        kept._source_stamp = _stamp()
    return made
