package main

import (
	"context"
	"fmt"
	"os"
)

// readNumbers reads as a member of a group, and writes each value to the file, until it is killed.
func (t *interop) readNumbers(group, protocol, file string) error {
	seen, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	m, err := t.join(group, protocol)
	if err != nil {
		return err
	}
	for {
		fetches := m.client.PollFetches(context.Background())
		// Errors are what a killed broker costs: the client goes on by itself.
		fetches.EachError(func(topic string, partition int32, err error) {
			fmt.Fprintln(os.Stderr, topic, partition, err)
		})
		for _, r := range fetches.Records() {
			if _, err := fmt.Fprintf(seen, "%s\n", r.Value); err != nil {
				return err
			}
		}
		// What a rebalance takes before it is committed, whoever has it then reads again.
		if err := m.client.CommitUncommittedOffsets(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err)
		}
	}
}
