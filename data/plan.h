#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace layalign::data {

/// Indices of a dataset that are trained on and those that are held out. No group (problem) is in both.
struct Split {
  std::vector<int64_t> train, dev;
  int64_t unused = 0;  ///< samples in neither: of the last group held out
};

/// Holds out `dev_size` samples, whole groups at a time: groups are ranked by a keyed hash of their name, so the choice
/// depends on the seed and the groups alone, and two stages over the same problems hold out the same ones. Where the last
/// group held out is larger than needed, its surplus samples are in neither part.
/// Errors: DataError when nothing is left to train on.
Split split_by_group(const Dataset& dataset, int64_t dev_size, uint64_t seed);

/// The same for `size` samples whose groups `group` tells.
Split split_by_group(int64_t size, const std::function<std::string(int64_t)>& group, int64_t dev_size, uint64_t seed);

/// The order in which `epoch` (from 0) visits `indices`: a shuffle that depends on the seed and the epoch alone, the same on
/// every rank, every grid and every standard library.
std::vector<int64_t> epoch_order(std::vector<int64_t> indices, uint64_t seed, int64_t epoch);

/// Deals items to `ranks` by cost, dearest first, each to the rank with the least so far (longest processing time rule).
/// Every rank computes the same plan without communication. Returns the items of each rank in ascending order; a rank may
/// get none.
std::vector<std::vector<int64_t>> deal_by_cost(std::span<const int64_t> costs, int ranks);

}  // namespace layalign::data
