// Loaded before a program's libraries (LD_PRELOAD): a file system without file locks.
#include <cerrno>

extern "C" int flock(int, int) {
  errno = ENOLCK;
  return -1;
}
