"""Objects, and the remotes that keep them."""

from collections.abc import Iterator, Mapping
from typing import Any

from dvc.cachemgr import CacheManager
from dvc.config import Config
from dvc.fs import get_cloud_fs
from dvc_data.hashfile.db import get_odb
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

# The hash of DVC 3, and the name of its folder in a cache.
HASH = "md5"


def default_remote_address() -> str:
    """The address of the default remote of the current folder.

    Raises:
        Exception: none is configured, or the settings cannot be read.
    """
    config = Config.from_cwd(validate=False)
    return str(config["remote"][config["core"]["remote"]]["url"])


def file_system(config: Mapping[str, Any], name: str) -> tuple[type[Any], dict[str, Any], str]:
    """The class of a remote's file system, the settings to open it with, and the remote's path in it."""
    kind, settings, root = get_cloud_fs(config, name=name)
    return kind, settings, root


def open_store(fs: Any, root: str, settings: Mapping[str, Any]) -> Any:
    """The objects that a remote keeps below `root`."""
    return get_odb(fs, fs.join(root, CacheManager.FILES_DIR, HASH), hash_name=HASH, **settings)


def files_of_folder(repo: Any, oid: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Objects of the files in a folder whose list this clone's cache has, each with its path as parts."""
    for key, _, item in Tree.load(repo.cache.local, HashInfo(HASH, oid)):
        yield item.value, key
