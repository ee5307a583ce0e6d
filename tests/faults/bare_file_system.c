// A file system that shows another folder and lacks what CIFS, FAT or Lustre lack by their mount options:
// chmod, flock, fsync, links, and renaming with flags.
//
//     bare_file_system FOLDER MOUNTPOINT [options of libfuse]
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[PATH_MAX];

static int result(long value) {
    return value < 0 ? -errno : (int)value;
}

// The path in the folder, in a place of each thread's own; two at once.
static const char* inside(const char* path, int place) {
    static _Thread_local char whole[2][2 * PATH_MAX];
    snprintf(whole[place], sizeof whole[place], "%s%s", folder, path);
    return whole[place];
}

static int get_attributes(const char* path, struct stat* status, struct fuse_file_info* file) {
    return result(lstat(inside(path, 0), status));
}

static int read_folder(const char* path, void* buffer, fuse_fill_dir_t fill, off_t offset,
                       struct fuse_file_info* file, enum fuse_readdir_flags flags) {
    DIR* entries = opendir(inside(path, 0));
    if (!entries) return -errno;
    for (const struct dirent* entry; (entry = readdir(entries));) fill(buffer, entry->d_name, NULL, 0, 0);
    closedir(entries);
    return 0;
}

static int make_folder(const char* path, mode_t mode) {
    return result(mkdir(inside(path, 0), mode));
}

static int remove_folder(const char* path) {
    return result(rmdir(inside(path, 0)));
}

static int remove_file(const char* path) {
    return result(unlink(inside(path, 0)));
}

static int rename_file(const char* from, const char* to, unsigned flags) {
    return flags ? -EINVAL : result(rename(inside(from, 0), inside(to, 1)));
}

static int set_length(const char* path, off_t length, struct fuse_file_info* file) {
    return result(truncate(inside(path, 0), length));
}

static int open_as(const char* path, int flags, struct fuse_file_info* file) {
    const int descriptor = open(inside(path, 0), flags, 0644);
    if (descriptor < 0) return -errno;
    file->fh = (uint64_t)descriptor;
    return 0;
}

static int open_file(const char* path, struct fuse_file_info* file) {
    return open_as(path, file->flags, file);
}

static int create_file(const char* path, mode_t mode, struct fuse_file_info* file) {
    return open_as(path, file->flags | O_CREAT, file);
}

static int read_file(const char* path, char* buffer, size_t size, off_t offset, struct fuse_file_info* file) {
    return result(pread((int)file->fh, buffer, size, offset));
}

static int write_file(const char* path, const char* data, size_t size, off_t offset,
                      struct fuse_file_info* file) {
    return result(pwrite((int)file->fh, data, size, offset));
}

static int close_file(const char* path, struct fuse_file_info* file) {
    return result(close((int)file->fh));
}

static int change_mode(const char* path, mode_t mode, struct fuse_file_info* file) {
    return -EPERM;
}

static int sync_file(const char* path, int data_only, struct fuse_file_info* file) {
    return -EINVAL;
}

static int lock_file(const char* path, struct fuse_file_info* file, int operation) {
    return -EOPNOTSUPP;
}

int main(int argc, char** argv) {
    static const struct fuse_operations operations = {
        .getattr = get_attributes,
        .readdir = read_folder,
        .mkdir = make_folder,
        .rmdir = remove_folder,
        .unlink = remove_file,
        .rename = rename_file,
        .truncate = set_length,
        .open = open_file,
        .create = create_file,
        .read = read_file,
        .write = write_file,
        .release = close_file,
        .chmod = change_mode,
        .fsync = sync_file,
        .fsyncdir = sync_file,
        .flock = lock_file,
    };
    if (argc < 3 || !realpath(argv[1], folder)) {
        fputs("usage: bare_file_system FOLDER MOUNTPOINT\n", stderr);
        return 2;
    }
    argv[1] = argv[0];
    return fuse_main(argc - 1, argv + 1, &operations, NULL);
}
