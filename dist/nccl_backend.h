#pragma once

#include <nccl.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "dist/backend.h"

namespace layalign::dist {

/// The version of the loaded NCCL library. Errors: `CommError` if the plug-in was built against another one.
int checked_nccl_version();

/// A fresh group identity (ncclUniqueId) as bytes; one rank makes it, all ranks of the group use it.
std::string make_nccl_id();

/// Tensors over NCCL, on LibTorch's current CUDA stream: calls return when the work is queued, not when it is done.
/// Errors: `CommError` with NCCL's text; a failure of earlier, queued work is reported by the next call.
/// Threads: one, but for `abort`, after which every call of that thread, also one that waits, is a `CommError`.
class NcclBackend final : public Backend {
 public:
  /// Joins the group; all its ranks construct it together, each with a GPU of its own. Errors: `CommError` after
  /// `kJoinTimeout` if some rank does not come.
  NcclBackend(const std::string& id, int rank, int size, int device);
  ~NcclBackend() override;
  NcclBackend(const NcclBackend&) = delete;
  NcclBackend& operator=(const NcclBackend&) = delete;

  const char* name() const override { return "nccl"; }
  void all_reduce(at::Tensor& tensor, Reduce op) override;
  void all_gather(const at::Tensor& local, at::Tensor& out) override;
  void broadcast(at::Tensor& tensor, int root) override;
  void abort() noexcept override;

 private:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;

  template <typename Use>
  ncclResult_t use(Use use) const;
  ncclResult_t poll(const Deadline& deadline) const;
  void check(ncclResult_t result, const char* call) const;
  template <typename Use>
  void run(const char* call, Use use) const;

  mutable std::timed_mutex in_use_;  // of comm_ and aborted_: an abort frees what a call uses
  ncclComm_t comm_ = nullptr;
  int device_;
  int exceptions_at_start_;
  bool aborted_ = false;
};

}  // namespace layalign::dist
