#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace layalign::fuzz {

inline std::string_view text_of(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

/// Takes the first byte of an input as a number below `choices`; an empty input gives 0.
inline size_t take_choice(std::string_view& input, size_t choices) {
  if (input.empty()) return 0;
  const size_t choice = static_cast<uint8_t>(input.front()) % choices;
  input.remove_prefix(1);
  return choice;
}

/// An input cut at NUL bytes into `count` parts; those that it lacks are empty.
inline std::vector<std::string_view> parts_of(std::string_view input, size_t count) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count) {
    const size_t end = std::min(input.find('\0'), input.size());
    parts.push_back(input.substr(0, end));
    input.remove_prefix(std::min(end + 1, input.size()));
  }
  parts.push_back(input);
  return parts;
}

/// A finding: what the code under test promises does not hold.
inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

/// Runs `read`. Errors of these classes are how hostile input is refused; any other exception is a finding. Returns
/// whether the input was accepted.
template <class... Refusal, class Read>
bool accepts(Read&& read) {
  if constexpr (sizeof...(Refusal) == 0) {
    read();
    return true;
  } else {
    return [&]<class First, class... Rest>(std::type_identity<First>, std::type_identity<Rest>...) {
      try {
        return accepts<Rest...>(std::forward<Read>(read));
      } catch (const First&) {
        return false;
      }
    }(std::type_identity<Refusal>()...);
  }
}

/// A folder for readers that take paths, under $TMPDIR; removed at the end of the process.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "layalign-fuzz-XXXXXX").string();
    require(::mkdtemp(name.data()) != nullptr, "a temporary folder can be made");
    path_ = name;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ~ScratchFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }

  /// Writes a file, whose folders are made where they lack; returns its path.
  std::filesystem::path write(const std::filesystem::path& name, std::string_view content) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace layalign::fuzz
