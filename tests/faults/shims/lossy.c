/* Preloaded into a server, notes what a power cut would spare. Nothing is lost while it runs: power.py takes the notes
   after the server was killed, and cuts its files to what had been synced. One line for each event, in the file that
   LOSSY_LOG names:

     S <device>:<inode> <bytes>   fsync or fdatasync returned; that many bytes had been written when it began
     T <device>:<inode> <bytes>   the file was cut to that length
     R <old>\t<new>\t<spare>      a file was renamed; what <new> was before is kept as <spare>
     D                            a folder was synced: the renames so far are there to stay */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int notes = -1;
static atomic_int spares;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("LOSSY_LOG");
    if (path) notes = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    char line[3 * PATH_MAX];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (notes >= 0 && length > 0 && (size_t)length < sizeof line && write(notes, line, length) != length) abort();
}

static void note_file(char kind, const struct stat *file, long long bytes) {
    note("%c %llu:%llu %lld\n", kind, (unsigned long long)file->st_dev, (unsigned long long)file->st_ino, bytes);
}

static int synced(int descriptor, const char *name) {
    struct stat before;
    int known = fstat(descriptor, &before) == 0;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int answer = real(descriptor);
    if (answer || !known) return answer;
    if (S_ISREG(before.st_mode)) note_file('S', &before, before.st_size);
    if (S_ISDIR(before.st_mode)) note("D\n");
    return answer;
}

int fsync(int descriptor) { return synced(descriptor, "fsync"); }

int fdatasync(int descriptor) { return synced(descriptor, "fdatasync"); }

int ftruncate(int descriptor, off_t bytes) {
    int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    int answer = real(descriptor, bytes);
    struct stat file;
    if (!answer && fstat(descriptor, &file) == 0) note_file('T', &file, bytes);
    return answer;
}

int truncate(const char *path, off_t bytes) {
    int (*real)(const char *, off_t) = (int (*)(const char *, off_t))dlsym(RTLD_NEXT, "truncate");
    int answer = real(path, bytes);
    struct stat file;
    if (!answer && stat(path, &file) == 0) note_file('T', &file, bytes);
    return answer;
}

int ftruncate64(int descriptor, off64_t bytes) { return ftruncate(descriptor, bytes); }

int truncate64(const char *path, off64_t bytes) { return truncate(path, bytes); }

int rename(const char *old, const char *new) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    char spare[PATH_MAX];
    snprintf(spare, sizeof spare, "%s.spare-%d-%d", new, (int)getpid(), atomic_fetch_add(&spares, 1));
    if (link(new, spare)) spare[0] = 0; /* there was none */
    int answer = real(old, new);
    if (!answer) note("R %s\t%s\t%s\n", old, new, spare);
    if (answer && spare[0]) unlink(spare);
    return answer;
}
