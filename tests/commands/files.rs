//! What a team's files may say, and what a bad one is told.
