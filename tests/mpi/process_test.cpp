#include "dist/process.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <thread>

#include "dist/error.h"
#include "tests/mpi/test_process.h"

namespace {

using layalign::dist::CommError;

TEST(Process, knows_its_place) {
  const auto process = test_process();
  EXPECT_GE(process->world_rank(), 0);
  EXPECT_LT(process->world_rank(), process->world_size());
  // All ranks of a test run on one machine.
  EXPECT_EQ(process->local_size(), process->world_size());
  EXPECT_EQ(process->local_rank(), process->world_rank());
  EXPECT_EQ(process->node(), 0);
  EXPECT_FALSE(process->host().empty());
}

TEST(Process, gathers_messages_of_different_lengths) {
  const auto process = test_process();
  const auto message = [](int rank) {
    return std::string(static_cast<size_t>(rank) * 70000, static_cast<char>('a' + rank));
  };
  const auto all = process->all_gather(message(process->world_rank()));
  ASSERT_EQ(all.size(), static_cast<size_t>(process->world_size()));
  for (int rank = 0; rank < process->world_size(); ++rank) EXPECT_EQ(all[static_cast<size_t>(rank)], message(rank));
}

TEST(Process, gathers_bytes_not_text) {
  const std::string bytes("a\0b\xff", 4);
  for (const std::string& message : test_process()->all_gather(bytes)) EXPECT_EQ(message, bytes);
}

TEST(Process, broadcasts_from_every_root) {
  const auto process = test_process();
  for (int root = 0; root < process->world_size(); ++root) {
    EXPECT_EQ(process->broadcast("from " + std::to_string(process->world_rank()), root),
              "from " + std::to_string(root));
  }
  EXPECT_EQ(process->broadcast("", 0), "");
  EXPECT_THROW(process->broadcast("", process->world_size()), CommError);
}

TEST(Process, tells_all_ranks_what_one_says) {
  const auto process = test_process();
  for (const int speakers : {1, process->world_size()}) {
    const auto notice = process->make_notice();
    EXPECT_EQ(notice->heard(), "");
    process->barrier();
    if (process->world_rank() >= process->world_size() - speakers) {
      for (int i = 0; i < 3; ++i) notice->give("SIGTERM");
    }
    while (notice->heard().empty()) std::this_thread::yield();
    EXPECT_EQ(notice->heard(), "SIGTERM");
    notice->close(*process);
  }
}

TEST(Process, ends_notices_that_nobody_has_heard) {
  const auto process = test_process();
  const auto notice = process->make_notice();
  notice->give(std::string(100, 'x'));
  notice->close(*process);
  EXPECT_EQ(notice->heard(), std::string(63, 'x'));
}

TEST(Process, looks_after_something_while_it_waits_for_the_others) {
  const auto process = test_process();
  const auto notice = process->make_notice();
  const bool alone = process->world_size() == 1, works = process->world_rank() == process->world_size() - 1;
  // The last rank works until one that waits says something.
  while (works && !alone && notice->heard().empty()) std::this_thread::yield();
  process->barrier([&] { notice->give("SIGTERM"); });
  notice->close(*process);
  if (!alone) {
    EXPECT_EQ(notice->heard(), "SIGTERM");
  }
}

TEST(Process, carries_messages_between_any_two_ranks) {
  const auto process = test_process();
  const auto mailbox = process->make_mailbox();
  const int ranks = process->world_size(), mine = process->world_rank();
  const auto message = [](int from, int to, int number) {
    return std::string(static_cast<size_t>(number) * 50000, static_cast<char>('a' + from)) + std::to_string(to);
  };
  std::thread sender([&] {
    for (int number = 0; number < 3; ++number) mailbox->send((mine + 1) % ranks, message(mine, (mine + 1) % ranks, number));
  });
  for (int number = 0; number < 3; ++number) {
    const int from = (mine + ranks - 1) % ranks;
    EXPECT_EQ(mailbox->receive(from), message(from, mine, number));
  }
  sender.join();
}

TEST(Process, is_one_a_program) { EXPECT_THROW(layalign::dist::Process(), CommError); }

}  // namespace
