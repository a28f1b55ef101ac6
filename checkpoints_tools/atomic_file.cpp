#include "checkpoints_tools/atomic_file.h"

#include <unistd.h>

#include <string>
#include <utility>

#include "checkpoints_tools/error.h"

namespace layalign::checkpoints_tools {
namespace {

/// Runs file operations; what they throw becomes an error of this room's callers, with the same message.
template <typename Work>
void as_checkpoint_error(Work work) {
  try {
    work();
  } catch (const IoError& error) {
    throw CheckpointError(error.what());
  }
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_(path_.string() + ".tmp") {
  as_checkpoint_error([&] { file_ = FileWriter::create(temporary_, path_); });
  pending_ = true;
}

AtomicFile::~AtomicFile() {
  if (pending_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  as_checkpoint_error([&] { file_->write(bytes); });
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  as_checkpoint_error([&] {
    file_->flush();
    file_->close();
    rename_file(temporary_, path_);
    pending_ = false;
    flush_folder_of(path_);
  });
}

}  // namespace layalign::checkpoints_tools
