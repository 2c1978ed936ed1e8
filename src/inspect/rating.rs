//! What is known of the names that pickles import.
//!
//! A name is safe only when loaders of models need it and it can do nothing but hold data: what
//! `torch.load(weights_only=True)` admits, and `NumPy`'s arrays. Modules that reach the system or run
//! code are dangerous as a whole. Everything else is suspicious.

use super::Safety;

/// Names that hold data and nothing else, by module.
const SAFE: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict"]),
    (
        "builtins",
        &[
            "bool",
            "bytearray",
            "bytes",
            "complex",
            "dict",
            "float",
            "frozenset",
            "int",
            "list",
            "object",
            "range",
            "set",
            "slice",
            "str",
            "tuple",
        ],
    ),
    ("_codecs", &["encode"]),
    ("copyreg", &["_reconstructor"]),
    (
        "torch._utils",
        &[
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_nested_tensor",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
        ],
    ),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.nn.parameter", &["Parameter", "Buffer"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.storage", &["UntypedStorage", "TypedStorage"]),
    (
        "torch",
        &[
            "Size",
            "Tensor",
            "device",
            "bfloat16",
            "bool",
            "complex128",
            "complex64",
            "float16",
            "float32",
            "float64",
            "float8_e4m3fn",
            "float8_e4m3fnuz",
            "float8_e5m2",
            "float8_e5m2fnuz",
            "half",
            "int16",
            "int32",
            "int64",
            "int8",
            "per_channel_affine",
            "per_tensor_affine",
            "qint32",
            "qint8",
            "quint8",
            "strided",
            "uint16",
            "uint32",
            "uint64",
            "uint8",
        ],
    ),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
];

/// Modules that nothing may be taken from, nor from below them.
const DANGEROUS: &[&str] = &[
    "_aix_support",
    "_ctypes",
    "_imp",
    "_osx_support",
    "_pickle",
    "_posixsubprocess",
    "_pyrepl",
    "_thread",
    "aiohttp",
    "asyncio",
    "atexit",
    "bdb",
    "cProfile",
    "cloudpickle",
    "code",
    "codeop",
    "commands",
    "compileall",
    "ctypes",
    "dill",
    "distutils",
    "doctest",
    "ensurepip",
    "fileinput",
    "ftplib",
    "gc",
    "glob",
    "http",
    "httplib",
    "idlelib",
    "imaplib",
    "imp",
    "importlib",
    "inspect",
    "joblib",
    "lib2to3",
    "linecache",
    "logging",
    "marshal",
    "mmap",
    "multiprocessing",
    "nt",
    "ntpath",
    "os",
    "pdb",
    "pexpect",
    "pickle",
    "pip",
    "pipes",
    "pkgutil",
    "platform",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "py_compile",
    "pydoc",
    "requests",
    "runpy",
    "select",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "socketserver",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "syslog",
    "tarfile",
    "telnetlib",
    "tempfile",
    "test",
    "threading",
    "timeit",
    "trace",
    "types",
    "unittest",
    "urllib",
    "urllib2",
    "uuid",
    "venv",
    "webbrowser",
    "xmlrpc",
    "zipfile",
    "zipimport",
    "numpy.f2py",
    "numpy.testing._private.utils",
];

/// Names that run code, of modules that also hold harmless ones.
const DANGEROUS_NAMES: &[(&str, &[&str])] = &[
    (
        "builtins",
        &[
            "__import__",
            "apply",
            "breakpoint",
            "compile",
            "delattr",
            "eval",
            "exec",
            "execfile",
            "file",
            "getattr",
            "globals",
            "input",
            "locals",
            "open",
            "setattr",
            "vars",
        ],
    ),
    ("operator", &["attrgetter", "itemgetter", "methodcaller"]),
    ("functools", &["partial", "reduce"]),
    ("_io", &["FileIO", "open", "open_code"]),
    ("io", &["FileIO", "open", "open_code"]),
    ("torch", &["load"]),
    ("torch.serialization", &["load"]),
    ("torch.hub", &["load", "load_state_dict_from_url", "download_url_to_file"]),
    ("torch._inductor.codecache", &["compile_file"]),
    ("torch.jit.unsupported_tensor_ops", &["execWrapper"]),
    ("numpy", &["load", "fromfile"]),
];

/// The names that Python 3 gives to modules of Python 2 while it unpickles.
fn modern(module: &str) -> &str {
    match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "_operator" => "operator",
        "_functools" => "functools",
        other => other,
    }
}

fn is_in(table: &[(&str, &[&str])], module: &str, name: &str) -> bool {
    table.iter().any(|(at, names)| *at == module && names.contains(&name))
}

fn is_storage(module: &str, name: &str) -> bool {
    let is_type = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric());
    module == "torch" && name.strip_suffix("Storage").is_some_and(is_type)
}

fn is_below(module: &str, top: &str) -> bool {
    module.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is known of `name` of `module`.
///
/// A name with dots is looked up attribute by attribute, so that `torch` and
/// `serialization.os.system` are `os.system`: each part is judged, and none of it is safe.
pub(super) fn rate(module: &str, name: &str) -> Safety {
    let module = modern(module);
    // What joblib writes around arrays: their bytes follow in the middle of the pickle.
    if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper") {
        return Safety::Suspicious;
    }
    let is_bad = |module: &str| DANGEROUS.iter().any(|top| is_below(module, top));
    if is_bad(module) || is_in(DANGEROUS_NAMES, module, name) {
        return Safety::Dangerous;
    }
    // `os` reached through another module, as that module's attribute.
    let mut parts = module.split('.').skip(1).chain(name.split('.'));
    let reaches = |part: &str| {
        DANGEROUS.contains(&part)
            && !SAFE.iter().any(|(at, _)| at.split('.').any(|one| one == part))
    };
    if name.contains('.') {
        let is_name = |part: &str| DANGEROUS_NAMES[0].1.contains(&part);
        let is_dangerous =
            parts.any(|part| reaches(part) || is_name(part) || part.starts_with("__"));
        return if is_dangerous { Safety::Dangerous } else { Safety::Suspicious };
    }
    if is_in(SAFE, module, name) || is_storage(module, name) {
        Safety::Safe
    } else if reaches(name) {
        // `from torch import os`.
        Safety::Dangerous
    } else {
        Safety::Suspicious
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rated() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch", "FloatStorage"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("__builtin__", "set"),
        ] {
            assert_eq!(rate(module, name), Safety::Safe, "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("os.path", "join"),
            ("__builtin__", "eval"),
            ("_operator", "attrgetter"),
            ("torch", "serialization.os.system"),
            ("torch.serialization", "os"),
            ("builtins", "getattr"),
            ("collections", "OrderedDict.__init__.__globals__"),
            ("numpy.f2py.crackfortran", "getlincoef"),
        ] {
            assert_eq!(rate(module, name), Safety::Dangerous, "{module}.{name}");
        }
        for (module, name) in
            [("osmosis", "run"), ("torch", "Storage"), ("torch", "nn.Linear"), ("my.model", "Net")]
        {
            assert_eq!(rate(module, name), Safety::Suspicious, "{module}.{name}");
        }
    }
}
