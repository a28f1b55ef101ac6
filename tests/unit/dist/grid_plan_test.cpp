// The grid's decisions on invented clusters: nodes and GPUs that no test machine has.
#include "dist/grid_plan.h"

#include <gtest/gtest.h>

#include "dist/error.h"

namespace {

using namespace layalign::dist;

// `nodes` nodes of `per_node` ranks; with `gpus` GPUs on each, a rank takes the one of its local rank.
std::vector<RankFacts> cluster(int nodes, int per_node, int gpus, int tp) {
  std::vector<RankFacts> ranks;
  for (int node = 0; node < nodes; ++node) {
    for (int local = 0; local < per_node; ++local) {
      RankFacts rank;
      rank.host = "node" + std::to_string(node);
      rank.node = node * per_node;
      rank.tp = tp;
      rank.device = rank.backend = "auto";
      rank.gpu_count = gpus;
      rank.gpu_bus_id = gpus > 0 ? "0000:" + std::to_string(local % gpus) : "";
      rank.gpu_problem = gpus > 0 ? "" : "no driver";
      rank.nccl_version = 22809;
      ranks.push_back(rank);
    }
  }
  return ranks;
}

void set_all(std::vector<RankFacts>& ranks, std::string RankFacts::*field, const std::string& value) {
  for (RankFacts& rank : ranks) rank.*field = value;
}

std::string refusal(const std::vector<RankFacts>& ranks) {
  try {
    plan_grid(ranks);
  } catch (const CommError& error) {
    return error.what();
  }
  return "";
}

void expect_refusal(const std::vector<RankFacts>& ranks, const std::vector<std::string>& words) {
  const std::string text = refusal(ranks);
  for (const std::string& word : words)
    EXPECT_NE(text.find(word), std::string::npos) << "missing: " << word << "\nin: " << text;
}

TEST(GridPlan, auto_takes_nccl_where_every_rank_has_its_gpu) {
  const GridPlan plan = plan_grid(cluster(2, 4, 4, 4));
  EXPECT_TRUE(plan.cuda);
  EXPECT_TRUE(plan.nccl);
}

TEST(GridPlan, auto_takes_the_cpu_where_no_rank_has_a_gpu) {
  const GridPlan plan = plan_grid(cluster(1, 4, 0, 2));
  EXPECT_FALSE(plan.cuda);
  EXPECT_FALSE(plan.nccl);
}

TEST(GridPlan, auto_takes_mpi_where_ranks_share_a_gpu) {
  const GridPlan plan = plan_grid(cluster(1, 4, 2, 2));
  EXPECT_TRUE(plan.cuda);
  EXPECT_FALSE(plan.nccl);
}

TEST(GridPlan, nccl_refuses_ranks_that_share_a_gpu) {
  auto ranks = cluster(1, 4, 2, 2);
  set_all(ranks, &RankFacts::backend, "nccl");
  expect_refusal(ranks, {"ranks 0 and 2 share the GPU 0000:0 of node0", "set comm.backend to mpi"});
}

TEST(GridPlan, the_same_address_on_two_nodes_is_two_gpus) {
  auto ranks = cluster(2, 1, 1, 1);
  set_all(ranks, &RankFacts::host, "localhost");
  EXPECT_TRUE(plan_grid(ranks).nccl);
}

TEST(GridPlan, mpi_on_gpus_is_a_choice) {
  auto ranks = cluster(1, 2, 2, 1);
  set_all(ranks, &RankFacts::backend, "mpi");
  const GridPlan plan = plan_grid(ranks);
  EXPECT_TRUE(plan.cuda);
  EXPECT_FALSE(plan.nccl);
}

TEST(GridPlan, cpu_leaves_the_gpus_alone) {
  auto ranks = cluster(1, 2, 2, 1);
  set_all(ranks, &RankFacts::device, "cpu");
  EXPECT_FALSE(plan_grid(ranks).cuda);
  set_all(ranks, &RankFacts::backend, "nccl");
  expect_refusal(ranks, {"comm.backend: nccl", "the device is cpu"});
}

TEST(GridPlan, a_broken_node_is_named_and_never_slows_the_job_silently) {
  auto ranks = cluster(2, 2, 2, 2);
  ranks[3].gpu_count = 0;
  ranks[3].gpu_problem = "driver too old";
  expect_refusal(ranks, {"1 rank of 4 has no usable GPU", "rank 3 on node1: driver too old"});
}

TEST(GridPlan, cuda_must_be_there_when_asked_for) {
  auto ranks = cluster(1, 2, 0, 1);
  set_all(ranks, &RankFacts::device, "cuda");
  expect_refusal(ranks,
                 {"2 ranks of 2 have no usable GPU", "rank 0 on node0: no driver", "set parallel.device to cpu"});
}

TEST(GridPlan, different_nccl_libraries_are_named) {
  auto ranks = cluster(2, 1, 1, 1);
  ranks[1].nccl_version = 22703;
  expect_refusal(ranks, {"22809", "rank 1 on node1 version 22703"});
}

TEST(GridPlan, groups_divide_the_world) {
  EXPECT_EQ(refusal(cluster(1, 8, 0, 3)),
            "8 ranks cannot be divided into tensor-parallel groups of 3: start a multiple of 3 ranks, or set "
            "parallel.tensor");
  expect_refusal(cluster(1, 2, 0, 0), {"parallel.tensor: expected at least 1, got 0"});
}

TEST(GridPlan, groups_stay_on_one_node) {
  expect_refusal(cluster(2, 3, 0, 2), {"ranks 2 to 3", "rank 2 runs on node0, rank 3 on node1"});
  EXPECT_EQ(refusal(cluster(2, 3, 0, 3)), "");
}

TEST(GridPlan, unknown_words_are_refused) {
  auto ranks = cluster(1, 1, 0, 1);
  set_all(ranks, &RankFacts::device, "gpu");
  expect_refusal(ranks, {"parallel.device: expected one of auto, cpu, cuda, got \"gpu\""});
}

TEST(RankFacts, travel_unchanged) {
  RankFacts facts = cluster(1, 1, 1, 2)[0];
  facts.gpu_problem = "two\nlines";
  const RankFacts copy = unpack_facts(pack_facts(facts));
  EXPECT_EQ(copy.host, facts.host);
  EXPECT_EQ(copy.tp, 2);
  EXPECT_EQ(copy.gpu_bus_id, facts.gpu_bus_id);
  EXPECT_EQ(copy.nccl_version, facts.nccl_version);
  EXPECT_EQ(copy.gpu_problem, facts.gpu_problem);
  EXPECT_THROW(unpack_facts("nonsense"), CommError);
}

}  // namespace
