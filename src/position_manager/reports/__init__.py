"""What people are told and shown: messages, status, explanations, the summary of a day."""
