// SPDX-License-Identifier: Apache-2.0
// Processes that call each other, and the thread of each that listens.
#include "penstock/domain.hpp"

#include "cases.hpp"
#include "processes.hpp"
#include "shared_messages.hpp"

namespace penstock::model {

namespace {

/// Waits for a message; 0 is the end.
std::uint64_t receive(Channel& channel) {
  Message message;
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  const Status status = channel.receive(message, kNoDeadline, me, &woken);
  if (status == Status::closed) return 0;
  require(status == Status::ok, "a receive gave up without a reason");
  return number_in(message, kSmall);
}

/// Somebody who sleeps in one process gets what another one sends.
void message_wakes_another_process() {
  Domains domains(2);
  const Channels on(domains, kSmall);
  on[0].add_sender();
  parallel([&] { send(on[0], 1); },
           [&] {
             require(receive(on[1]) == 1, "another message");
             domains[1]->leave();
           },
           [&] { domains.listen(1); });
}

/// A process is dead that had claimed room, and the process that keeps order undoes that beside
/// everything else.
void dead_is_undone_soon() {
  Domains domains(3);
  const Channels on(domains, kSmall);
  on[0].add_sender();
  parallel(
      [&] {
        MpscProducer::Claim claim;
        require(on.producer_of(1).try_claim(kSmall, &claim) == Status::ok,
                "full, although it fits");
      },
      [&] {
        await_end(1);
        domains[0]->ended(1);
        for (unsigned turn = 0; domains[0]->is_member(1); ++turn) spin_pause(turn);
        domains[0]->leave();
      },
      [&] { domains.listen(0); });
  send(on[0], 1);
  Message message;
  require(on[2].try_receive(message) == Status::ok,
          "what a dead process had claimed is waited for");
}

/// The number of a dead process is given to another one: nothing is left of the first.
void number_is_given_again() {
  Domains domains(2);
  const Channels on(domains, kSmall);
  parallel(
      [&] {
        domains[0]->ended(1);
        for (unsigned turn = 0;; ++turn) {
          const unsigned number = domains[0]->admit().value();
          if (number == 1) break;
          spin_pause(turn);
        }
        require(domains[0]->pid(1) == 0, "the pid is that of the dead process");
        domains[0]->leave();
      },
      [&] { domains.listen(0); });
}

constexpr Case kCases[] = {
    {"DomainCallsWhoSleepsInAnotherProcess",
     message_wakes_another_process,
     {.limits = {2, 2}, .most_executions = 20'000}},
    {"DomainUndoesWhatADeadProcessHadBegun",
     dead_is_undone_soon,
     {.limits = {2, 4}, .most_executions = 20'000}},
    {"DomainGivesNumbersAgain",
     number_is_given_again,
     {.limits = {2, 2}, .most_executions = 20'000}},
};

}  // namespace

std::span<const Case> domain_cases() { return kCases; }

}  // namespace penstock::model
