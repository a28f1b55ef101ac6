#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <memory>

#include "model/work_count.h"

namespace layalign::model {

struct WorkObserver;

/// Until it ends, what this thread does counts for `part`, and later what backward derives from it.
/// Costs nothing to speak of where no WorkCounter is at work.
class PartScope {
 public:
  explicit PartScope(Part part);
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;
  ~PartScope();

 private:
  Part before_;
};

/// Counts what this thread, and backward on its behalf, executes in LibTorch while it lives, through LibTorch's
/// observers (at::RecordFunction), and the products of our own kernels. One at a time in a process, since those
/// observers carry no data. Not seen: products inside a kernel that LibTorch does not name, and how large those of attention
/// over samples of many lengths are, which lie on the device; who calls one counts it by `count_product`. Threads: destroyed by the one that
/// made it.
class WorkCounter {
 public:
  /// `device`: where a read by the host counts as a synchronisation.
  explicit WorkCounter(at::Device device);
  WorkCounter(const WorkCounter&) = delete;
  WorkCounter& operator=(const WorkCounter&) = delete;
  ~WorkCounter();

  WorkCount count() const;

 private:
  std::unique_ptr<WorkObserver> observer_;
  uint64_t handle_;
};

/// Counts the FLOPs of a product that LibTorch does not see, for the part and the direction that this thread is in.
void count_product(int64_t flops);

/// Counts what a kernel that LibTorch does not see reads and writes; undefined tensors are none.
void count_moved(std::initializer_list<at::Tensor> tensors);

/// `tensor` in main memory. The one way in which a step reads from the device: it is counted.
at::Tensor to_host(const at::Tensor& tensor);

}  // namespace layalign::model
